"""A node that does not share the results."""

import pytest

from search.policy.records import TrialState
from tests.cluster.place import Place
from tests.helpers.search.processes import kill

pytestmark = [pytest.mark.fault, pytest.mark.release]


def test_a_node_with_its_own_results_is_left_out_by_name_and_the_others_search(place: Place) -> None:
    place.add()
    alone = place.add()
    (alone.own / "results").mkdir()
    alone.bind(alone.own / "results", place.cwd / "results")
    driver = place.run("--set", "search.trials=2", "--set", "search.max_concurrent=1")
    try:
        assert driver.wait(timeout=300) == 0, place.output()
    finally:
        kill({driver.pid})
    assert f"{alone.name} gets no more trials in this run" in place.output()
    assert str(place.folder.root) in place.output(), "the folder that is not shared is named"
    assert {node for record in place.records() for node in record.nodes} == {place.hosts.head.name}
    assert {record.state for record in place.records()} <= {TrialState.COMPLETE, TrialState.PRUNED}
