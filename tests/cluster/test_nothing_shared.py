"""Hosts that share a bucket and nothing else."""

import shutil
import subprocess
import sys

import pytest

from search.policy.records import TrialState
from search.study.study import Study
from tests.cluster.place import BucketPlace, Values, values
from tests.helpers import ROOT
from tests.helpers.network.hosts import Host
from tests.helpers.search.processes import kill

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
    place.add()
    driver = place.run()
    try:
        number = place.await_trial_on(victim, before=12)
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
    for report in (record.reports[-1] for record in records):
        assert (place.folder.trial(number) / moved.reports[-1].checkpoint).is_file()
        assert report.epoch >= 1

    other = place.hosts.add()
    place._begin(other, photos=False)
    study = place.url.replace("/studies?", "/studies/tiny?")
    assert "4 trials" in call(place, other, "status", study)
    assert values(Study.open(place.mirror(other).root, read_only=True).records()) == undisturbed
    shutil.rmtree(place.mirror(other).root)
