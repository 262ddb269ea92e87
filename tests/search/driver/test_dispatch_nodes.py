"""Faults of a cluster's nodes: whose they are, what becomes of the trial, and what the study remembers."""

from pathlib import Path

import pytest

from search.driver.nodes.node_roster import NodeRoster, SeenNode
from search.policy.records import TrialState
from search.study.node_notes import NodeNote, node_lines, node_notes
from search.study.study import Study
from search.worker.segment import Outcome
from tests.helpers.search.dispatch_desk import ACCURACIES, Desk, finish

GOOD, BAD = SeenNode("g", "good"), SeenNode("b", "bad")


@pytest.fixture
def roster() -> NodeRoster:
    made = NodeRoster(exclude_after=2)
    made.saw([GOOD, BAD])
    return made


def on(desk: Desk, node: SeenNode) -> int:
    """Starts a segment on a node; returns its trial."""
    number = desk.take().number
    desk.dispatcher.placed(number, node.node_id, node.name)
    return number


@pytest.mark.parametrize("kind", ["unfit", "unavailable", "disk_full", "unable"])
def test_a_nodes_fault_fails_no_trial_and_stops_nothing(open_desk, roster: NodeRoster, kind) -> None:
    desk = open_desk("search.trials=3", roster=roster)
    for _ in range(2):
        number = on(desk, BAD)
        desk.dispatcher.segment_ended(number, Outcome(kind, "photos are missing"))
        record = desk.study.record(number)
        assert (record.state, record.deaths) == (TrialState.WAITING, ())
        assert record.cause == "bad: photos are missing"
    assert roster.excluded_ids() == ("b",)
    finish(desk, ACCURACIES)
    assert desk.dispatcher.finished, "it neither waited nor stopped"
    assert {record.state for record in desk.study.records()} <= {TrialState.COMPLETE, TrialState.PAUSED}


def test_where_no_other_node_works_the_search_pauses_and_says_why(open_desk, caplog: pytest.LogCaptureFixture) -> None:
    roster = NodeRoster()
    roster.saw([BAD])
    Path("data").mkdir()  # the driver itself has its photos
    desk = open_desk("search.trials=3", "search.checkpoints.full_disk_minutes=1", roster=roster)
    desk.dispatcher.segment_ended(on(desk, BAD), Outcome("unfit", "photos are missing"))
    assert desk.dispatcher.next_segment() == "wait"
    assert "trial 0 waits: photos are missing" in caplog.text
    desk.clock.now_s += 61
    assert desk.dispatcher.next_segment() == "finished"
    assert desk.dispatcher.stopping == "photos are missing, for 1 minutes"
    assert desk.state(0) is TrialState.WAITING, "a resume continues it"


def test_a_preempted_trial_has_not_died(open_desk, roster: NodeRoster) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=0", roster=roster)
    number = on(desk, BAD)
    desk.epoch(number)
    desk.dispatcher.segment_ended(number, Outcome("preempted", "bad is leaving the cluster"))
    record = desk.study.record(number)
    assert (record.state, record.deaths, record.fidelity) == (TrialState.WAITING, (), 1)
    resumed = desk.take()
    assert resumed.resume == record.reports[0].checkpoint


def test_each_attempt_records_its_node(open_desk, roster: NodeRoster) -> None:
    desk = open_desk("search.trials=1", roster=roster)
    number = on(desk, BAD)
    desk.dispatcher.segment_ended(number, Outcome("unfit", "other photos"))
    desk.take()
    desk.dispatcher.segment_ended(number, Outcome("killed", "lost before it began"))
    on(desk, GOOD)
    assert desk.study.record(number).nodes == ("bad", "", "good")
    assert desk.study.record(number).node == "good"
    again = Study.open(desk.folder.root, read_only=True)
    assert again.record(number).nodes == ("bad", "", "good")
    assert node_notes(again) == (
        NodeNote("bad", "working", attempts=1, epochs=0, faults=1, cause="other photos"),
        NodeNote("good", "working", attempts=1, epochs=0, faults=0, cause=""),
    )
    assert node_lines(node_notes(again))[0] == "node bad: working, 1 attempts, 0 epochs, 1 faults: other photos"


def test_on_one_machine_the_journal_knows_no_nodes(open_desk) -> None:
    desk = open_desk("search.trials=2")
    finish(desk, ACCURACIES)
    assert "nodes" not in desk.folder.log.read_text(encoding="utf-8")
    assert node_notes(desk.study) == ()
