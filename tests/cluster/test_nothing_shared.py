"""Hosts that share a bucket and nothing else."""

import subprocess
import sys

import pytest

from search.policy.records import TrialState
from search.study.bucket.bucket import below
from search.study.final_scores import read_scores
from search.study.study import Study
from tests.cluster.place import BucketPlace, Values, values
from tests.helpers import ROOT
from tests.helpers.network.hosts import Host
from tests.helpers.search.processes import kill, wait_until
from tests.helpers.search.tiny import VALIDATION_PHOTOS

pytestmark = [pytest.mark.fault, pytest.mark.release, pytest.mark.timeout(600)]


def call(place: BucketPlace, host: Host, *arguments: str) -> str:
    """What `carsearch ...` prints on a host."""
    command = [*host.inside, "env", "-C", str(place.cwd), f"PYTHONPATH={ROOT}", sys.executable, "-m", "search.cli"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_killed_host_costs_no_epoch_where_only_a_bucket_is_shared(
    bucket_place: BucketPlace, undisturbed: Values
) -> None:
    place = bucket_place
    place.add()
    victim = place.add()
    third = place.add()
    driver = place.run()
    try:
        number = place.await_trial_on(victim, before=12, within_s=300)
        victim.kill()
        assert driver.wait(timeout=400) == 0, place.output()
    finally:
        kill({driver.pid})
    records = place.records()
    assert values(records) == undisturbed
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert "ERROR" not in place.output()
    moved = records[number]
    assert len(moved.deaths) == 1
    assert moved.nodes[0] == victim.name
    assert victim.name not in moved.nodes[1:]
    attempts = [report.checkpoint.partition("/")[0] for report in moved.reports]
    assert attempts[0] == "attempt-0"
    assert attempts[-1] == "attempt-1", "it was resumed, not trained again"
    for record in records:
        assert (place.folder.trial(record.number) / record.reports[-1].checkpoint).is_file()
    for host in (victim, third):
        kept = {path.name for path in (place.own(host) / "store").iterdir()}
        assert "studies" not in kept, "only the driver has the whole study"
        assert "workers" in kept
    assert not list((place.own(third) / "store").glob("workers/*/trials/*")), "nothing is left of its trials"

    # A machine that has seen none of it goes on: it reads the study, and has the final training done by the others.
    other = place.hosts.add()
    place.begin(other)
    study = below(place.url, "tiny")
    assert "tiny: 4 complete" in call(place, other, "status", study)
    assert values(Study.open(place.mirror(other).root, read_only=True).records()) == undisturbed
    other.start_ray(place.hosts.head, cpus=0)
    call(place, other, "retrain", study, "--address", place.hosts.address)
    folder = place.mirror(other)
    (final,) = Study.open(folder.retrain, read_only=True).records()
    assert final.state is TrialState.COMPLETE
    assert set(final.nodes) <= {place.hosts.head.name, third.name}
    assert folder.model.is_file()
    assert read_scores(folder).validation_photos == VALIDATION_PHOTOS


def test_a_bucket_that_is_away_is_waited_for_and_a_node_without_access_is_named(
    bucket_place: BucketPlace, undisturbed: Values
) -> None:
    place = bucket_place
    place.add()
    without = place.add()
    without.sh(f"ip route add unreachable {place.storage.ip}/32")
    place.add()
    driver = place.run()
    try:
        place.await_epochs(driver, 5)
        place.server.kill()
        wait_until(lambda: "waits for" in place.output(), "a line about the outage", within_s=120)
        place.server.start()
        assert driver.wait(timeout=400) == 0, place.output()
    finally:
        kill({driver.pid})
    records = place.records()
    assert values(records) == undisturbed
    assert {(record.attempts, record.deaths) for record in records} == {(1, ())}, "waiting costs no attempt"
    assert without.name not in {node for record in records for node in record.nodes}
    (line,) = [line for line in place.output().splitlines() if f"{without.name} gets no more trials" in line]
    assert below(place.url, "tiny") in line
    assert "every node must read and write the study there" in line
