"""Where trials run, and whose fault a failure is."""

import pytest

from search.driver.nodes.node_roster import NodeRoster, SeenNode

ONE, TWO, THREE, FOUR = (SeenNode(letter, f"node-{letter}") for letter in "abcd")


def roster(*nodes: SeenNode) -> NodeRoster:
    made = NodeRoster(exclude_after=2)
    made.saw(nodes)
    return made


def test_a_node_with_two_faults_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    nodes = roster(ONE, TWO)
    for number in (0, 1):
        nodes.placed(number, "b", "node-b")
        assert nodes.faulted(number, "no photos") is not None
    assert nodes.excluded_ids() == ("b",)
    assert "node-b gets no more trials in this run: no photos" in caplog.text


def test_without_another_node_the_whole_search_is_concerned() -> None:
    nodes = roster(ONE)
    nodes.placed(0, "a", "node-a")
    assert nodes.faulted(0, "no photos") is None
    assert nodes.faulted(0, "no photos") is None
    assert nodes.excluded_ids() == ()


def test_on_a_single_machine_nothing_is_counted() -> None:
    assert NodeRoster().faulted(0, "no photos") is None
    assert NodeRoster().nodes == ()


def test_a_trial_that_fails_everywhere_spoils_two_nodes_at_most() -> None:
    nodes = roster(ONE, TWO, THREE, FOUR)
    blamed = []
    for one in (ONE, TWO, THREE, FOUR):
        nodes.placed(7, one.node_id, one.name)
        blamed.append(nodes.faulted(7, "its own fault") is not None)
    assert blamed == [True, True, False, False]
    nodes.progressed(7)
    nodes.placed(7, "c", "node-c")
    assert nodes.faulted(7, "later") is not None, "an epoch clears its name"


def test_a_segment_that_was_not_placed_blames_no_earlier_node() -> None:
    nodes = roster(ONE, TWO)
    nodes.placed(0, "b", "node-b")
    nodes.forget_home(0)
    assert nodes.faulted(0, "killed before it began") is None


def test_leaving_nodes_get_no_segments_and_gone_ones_need_no_mention(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    nodes = roster(ONE, TWO)
    nodes.saw([ONE, SeenNode("b", "node-b", is_leaving=True)])
    assert nodes.excluded_ids() == ("b",)
    nodes.saw([ONE, THREE])
    assert nodes.excluded_ids() == ()
    assert [line for line in caplog.messages if "cluster" in line] == [
        "node-b is leaving the cluster: its trials move on",
        "node-c has joined the cluster",
        "node-b has left the cluster",
    ]


def test_when_the_last_good_node_leaves_a_spoilt_one_is_tried_again() -> None:
    nodes = roster(ONE, TWO)
    nodes.condemn("b", "node-b", "other photos")
    assert nodes.excluded_ids() == ("b",)
    nodes.saw([TWO])
    assert nodes.excluded_ids() == ()
