"""All processes of the head's host are killed, the driver too, and the same commands are started again, as by SLURM's
requeue or KubeRay's RayJob."""

import pytest

from tests.cluster.place import Place, Values, values
from tests.helpers.search.processes import command, kill, wait_until

pytestmark = [pytest.mark.fault, pytest.mark.release]

GONE_S = 10.0


def test_the_same_command_after_a_lost_head_ends_with_the_undisturbed_study(
    same_at_once: Place, undisturbed: Values
) -> None:
    place = same_at_once
    place.add(own_processes=True)
    worker = place.add()
    driver = place.run("--or-resume")
    try:
        number = place.await_trial_on(worker)
        trained = {pid: command(pid) for pid in worker.below() if is_of_search(command(pid))}
        assert trained
        assert worker.trials() <= set(trained)
        place.hosts.head.kill_all()
        wait_until(lambda: not any(map(is_of_search, map(command, trained))), "an end to the old life", within_s=GONE_S)
        before = place.records()
        place.hosts.head.start_ray(place.hosts.head)
        assert worker.process is not None
        worker.process.wait(timeout=120)  # Ray's own programs wait a minute for the old control store
        worker.start_ray(place.hosts.head)
        driver = place.run("--or-resume")
        assert driver.wait(timeout=300) == 0, place.output()
    finally:
        kill({driver.pid})
    after = place.records()
    for earlier, later in zip(before, after, strict=False):
        assert later.reports[: earlier.fidelity] == earlier.reports, "no recorded epoch is trained again"
    assert values(after) == undisturbed
    assert after[number].attempts == 2
    assert "ERROR" not in place.output()


def is_of_search(line: str) -> bool:
    """True for actors, fork servers and trials."""
    return line.startswith("ray::ImplicitFunc") or "forkserver" in line
