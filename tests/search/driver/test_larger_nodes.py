"""A configuration that was refused for memory on a small node is tried on a larger one."""

import pytest

from carcls.config import TrainConfig
from search.driver.nodes.node_roster import NodeRoster, SeenNode
from search.policy.oom import OomKey, OomRecord
from search.policy.records import TrialState
from search.worker.segment import Outcome
from tests.helpers.search.dispatch_desk import Desk

SMALL, LARGE = SeenNode("s", "small"), SeenNode("l", "large")
T4, A100 = "Tesla T4, 15360 MiB, share 1", "NVIDIA A100, 81920 MiB, share 1"
WHOLE = ("search.scheduler={kind: none}", "train.head={batch_norm: false, dropout: 0.0}", "search.trials=1")
WAITS = (*WHOLE, "search.resources.larger_node_minutes=10")


def refused(config: TrainConfig, device: str) -> Outcome:
    """Not even the smallest micro-batch fits there."""
    record = OomRecord(OomKey.of(config, 0, device), 3, tries=2)
    return Outcome("out_of_memory", "OutOfMemoryError: no room", stage=0, oom_record=record.to_json())


def cluster(*nodes: SeenNode, large: str = A100) -> NodeRoster:
    roster = NodeRoster()
    roster.saw(nodes)
    roster.learned("s", T4)
    roster.learned("l", large)
    return roster


def refuse(desk: Desk, node: SeenNode = SMALL, device: str = T4) -> None:
    """The trial is handed out, and has too little memory on the node."""
    number = desk.take().number
    desk.dispatcher.placed(number, node.node_id, node.name)
    desk.dispatcher.segment_ended(number, refused(desk.study.config(number), device))


def test_a_refused_trial_goes_to_a_larger_node(open_desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    desk = open_desk(*WHOLE, roster=cluster(SMALL, LARGE))
    refuse(desk)
    record = desk.study.record(0)
    assert (record.state, record.deaths) == (TrialState.WAITING, ())
    assert record.cause == "small: OutOfMemoryError: no room"
    assert "trial 0 needs more memory than it has on small: it goes to a larger node" in caplog.text
    desk.work(desk.take())
    assert desk.state(0) is TrialState.COMPLETE


def test_a_trial_that_the_largest_node_refuses_is_infeasible(open_desk) -> None:
    desk = open_desk(*WHOLE, roster=cluster(SMALL, LARGE))
    refuse(desk)
    refuse(desk, LARGE, A100)
    record = desk.study.record(0)
    assert (record.state, record.infeasible) == (TrialState.FAIL, True)


@pytest.mark.parametrize("nodes", [(SMALL,), (SMALL, SeenNode("l", "large", is_leaving=True)), ()])
def test_without_a_larger_node_it_fails_at_once(open_desk, nodes: tuple[SeenNode, ...]) -> None:
    desk = open_desk(*WHOLE, roster=cluster(*nodes))
    refuse(desk)
    record = desk.study.record(0)
    assert (record.state, record.infeasible, record.cause) == (TrialState.FAIL, True, "OutOfMemoryError: no room")


def test_what_the_trial_has_seen_counts_more_than_the_probe(open_desk) -> None:
    desk = open_desk(*WHOLE, roster=cluster(SMALL))
    desk.dispatcher._larger._roster.learned("s", A100)  # the whole card, of which the trial has a slice
    refuse(desk)
    assert desk.state(0) is TrialState.FAIL, "it does not go back to the same node for ever"


def test_it_waits_for_a_larger_node_to_join(open_desk) -> None:
    roster = cluster(SMALL)
    desk = open_desk(*WAITS, roster=roster)
    refuse(desk)
    assert desk.state(0) is TrialState.WAITING
    desk.clock.now_s += 599.0
    assert desk.dispatcher.next_segment() == "wait"
    roster.saw([SMALL, LARGE])
    assert desk.dispatcher.next_segment() == "wait", "its memory is not known yet"
    roster.learned("l", A100)
    desk.work(desk.take())
    assert desk.state(0) is TrialState.COMPLETE


def test_it_waits_no_longer_than_it_is_told_to(open_desk) -> None:
    desk = open_desk(*WAITS, roster=cluster(SMALL))
    refuse(desk)
    desk.clock.now_s += 600.0
    refuse(desk)
    record = desk.study.record(0)
    assert (record.state, record.infeasible) == (TrialState.FAIL, True)
    assert desk.dispatcher.next_segment() == "finished"


def test_other_trials_go_on_meanwhile(open_desk) -> None:
    desk = open_desk(*WAITS, "search.trials=2", roster=cluster(SMALL))
    refuse(desk)
    other = desk.take()
    assert other.number == 1
    desk.dispatcher.placed(1, "s", "small")
    desk.work(other)
    assert desk.state(1) is TrialState.COMPLETE
    assert desk.dispatcher.next_segment() == "wait"
