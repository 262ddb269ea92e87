"""A host whose cable is pulled for a while."""

import time

import pytest

from tests.cluster.place import Place, Values, values
from tests.helpers.search.processes import kill, wait_until

pytestmark = [pytest.mark.fault, pytest.mark.release]

CUT_S = 90.0


def test_a_cut_link_costs_no_recorded_epoch_and_the_search_waits_for_its_only_worker(
    same_at_once: Place, undisturbed: Values
) -> None:
    place = same_at_once
    place.add(cpus=0)
    worker = place.add()
    driver = place.run()
    try:
        number = place.await_trial_on(worker)
        place.hosts.plug(worker, is_in=False)
        before = place.records()
        time.sleep(CUT_S)
        assert driver.poll() is None, place.output()
        during = place.records()
        place.hosts.plug(worker, is_in=True)
        wait_until(lambda: not worker.trials(), "an end to what trained behind the cut", within_s=60)
        assert worker.process is not None
        worker.process.wait(timeout=120)  # Ray does not join again by itself; what watches over it starts it again
        worker.start_ray(place.hosts.head)
        assert driver.wait(timeout=300) == 0, place.output()
    finally:
        kill({driver.pid})
    after = place.records()
    for seen in (before, during):
        for earlier, later in zip(seen, after, strict=False):
            assert later.reports[: earlier.fidelity] == earlier.reports, "no recorded epoch is trained again"
    assert during[number].fidelity <= before[number].fidelity + 1, "nothing is recorded behind the cut"
    assert values(after) == undisturbed
    assert len(after[number].deaths) == 1
    assert "ERROR" not in place.output()
