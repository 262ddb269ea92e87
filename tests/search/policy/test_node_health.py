"""When a node's faults exclude it."""

from search.policy.node_health import (
    NodeHealth,
    condemned,
    excluded,
    faulted,
    has_other,
    progressed,
    state_of,
)

GOOD, BAD = NodeHealth("g", "good"), NodeHealth("b", "bad")


def spoilt(node: NodeHealth, times: int = 2) -> NodeHealth:
    for _ in range(times):
        node = faulted(node, "no photos")
    return node


def test_a_node_is_excluded_after_the_given_number_of_faults() -> None:
    assert excluded([GOOD, spoilt(BAD, 1)], 2) == ()
    assert excluded([GOOD, spoilt(BAD)], 2) == (spoilt(BAD),)
    assert excluded([GOOD, spoilt(BAD, 2)], 3) == ()


def test_an_epoch_there_forgets_its_faults() -> None:
    recovered = progressed(spoilt(BAD, 1))
    assert recovered == BAD
    assert progressed(recovered) is recovered, "nothing to forget, nothing to write"


def test_the_last_working_nodes_are_never_excluded_all() -> None:
    assert excluded([spoilt(GOOD), spoilt(BAD)], 2) == (), "one of them must be tried again"
    gone = NodeHealth("x", "gone", is_alive=False)
    leaving = NodeHealth("y", "leaving", is_leaving=True)
    assert excluded([gone, leaving, spoilt(BAD)], 2) == ()


def test_a_condemned_node_needs_no_faults() -> None:
    assert excluded([GOOD, condemned(BAD, "other photos")], 2) == (condemned(BAD, "other photos"),)
    assert state_of(condemned(BAD, "other photos"), 2) == "excluded"


def test_only_a_node_that_works_and_stays_can_take_the_work() -> None:
    assert has_other([GOOD, BAD], "b", 2)
    assert not has_other([BAD], "b", 2)
    assert not has_other([spoilt(GOOD), BAD], "b", 2)
    assert not has_other([NodeHealth("g", "good", is_alive=False), BAD], "b", 2)
    assert not has_other([NodeHealth("g", "good", is_leaving=True), BAD], "b", 2)


def test_states_for_users() -> None:
    states = [
        state_of(one, 2)
        for one in (GOOD, spoilt(BAD), NodeHealth("x", "x", is_alive=False), NodeHealth("y", "y", is_leaving=True))
    ]
    assert states == ["working", "excluded", "gone", "leaving"]


def test_json_round_trip_ignores_keys_of_later_versions() -> None:
    node = spoilt(BAD)
    assert NodeHealth.from_json(node.to_json() | {"later": 1}) == node
