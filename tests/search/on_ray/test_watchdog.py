"""When a cluster counts as lost."""

import socket

import pytest

from search.on_ray.watchdog import HEALTH_CHECKS, LOST_AFTER_S, ClusterWatch, _answers, set_health_checks, why_lost

ALIVE, DEAD = {"Alive": True}, {"Alive": False}


@pytest.mark.parametrize(
    ("reachable", "nodes", "silent_s", "why"),
    [
        (True, [ALIVE, DEAD], 0.0, None),
        (True, [ALIVE], 1000.0, None),
        (False, [], LOST_AFTER_S - 1, None),
        (False, [], 25.0, "its control store has not answered for 25 s"),
        (True, [DEAD, DEAD], LOST_AFTER_S - 1, None),
        (True, [DEAD, DEAD], LOST_AFTER_S, "none of its 2 nodes is alive"),
    ],
)
def test_a_cluster_counts_as_lost_after_a_silence(
    *, reachable: bool, nodes: list, silent_s: float, why: str | None
) -> None:
    assert why_lost(reachable=reachable, nodes=nodes, silent_s=silent_s) == why


def test_a_store_is_asked_at_its_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert _answers(address)
    assert not _answers(address)


def test_what_the_user_has_set_for_health_checks_stands() -> None:
    environment = {"RAY_health_check_timeout_ms": "77"}
    set_health_checks(environment)
    assert environment == HEALTH_CHECKS | {"RAY_health_check_timeout_ms": "77"}


def test_a_driver_that_does_not_get_away_from_ray_is_helped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.on_ray.watchdog._SHUTDOWN_S", 0.01)
    helped: list[bool] = []

    def said(why: str) -> None:
        raise AssertionError(why)

    watch = ClusterWatch(on_lost=said, give_up=said, unstick=lambda: helped.append(True))
    watch._watch_shutdown()
    assert helped == [True]
    with watch:
        pass
    watch._watch_shutdown()
    assert helped == [True], "it has left"
