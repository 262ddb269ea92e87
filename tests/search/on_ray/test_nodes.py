"""The resources of each trial, and the results of probing nodes."""

from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import ClusterError
from search.on_ray.cluster.nodes import Node, alive_nodes, plan_resources, slots
from search.on_ray.cluster.probe import node_problems
from search.worker.node_check import PHOTOS, VERSION


def node(cpus: float, gpus: float = 0.0, name: str = "a") -> Node:
    return Node(node_id=name, name=name, cpus=cpus, gpus=gpus)


def shares(nodes, *, gpus=None, cpus=None, concurrent=None):
    found = plan_resources(nodes, gpus_per_trial=gpus, cpus_per_trial=cpus, max_concurrent=concurrent)
    return found.cpus, found.gpus, found.concurrent


def test_without_wishes_a_trial_gets_one_gpu_and_its_share_of_the_cores():
    assert shares([node(16, 4), node(8, 2)]) == (4, 1.0, 6)


def test_without_gpus_a_trial_gets_up_to_four_cores():
    assert shares([node(2)]) == (2, 0.0, 1)
    assert shares([node(16)]) == (4, 0.0, 4)


def test_shares_of_a_gpu_never_span_two():
    assert shares([node(16, 2)], gpus=0.4, cpus=1) == (1, 0.4, 4)
    assert shares([node(16, 2)], gpus=0.25, cpus=1) == (1, 0.25, 8)


def test_a_trial_of_several_gpus_never_spans_two_nodes():
    assert shares([node(16, 4), node(16, 3)], gpus=2.0) == (8, 2.0, 3)
    assert shares([node(16, 4), node(16, 3)], gpus=4.0) == (16, 4.0, 1)
    with pytest.raises(ClusterError, match="no node has room for one trial of 1 CPUs and 8 GPUs"):
        shares([node(16, 4), node(16, 4)], gpus=8.0)


def test_cores_limit_what_gpus_allow():
    assert shares([node(3, 4)], gpus=1.0, cpus=1)[2] == 3


def test_zero_gpus_on_a_gpu_node_is_a_cpu_search():
    assert shares([node(8, 2)], gpus=0.0, cpus=2) == (2, 0.0, 4)


def test_max_concurrent_is_an_upper_bound():
    assert shares([node(8)], cpus=1, concurrent=3)[2] == 3
    assert shares([node(2)], cpus=1, concurrent=3)[2] == 2


def test_no_room_names_the_nodes_and_the_keys():
    with pytest.raises(ClusterError, match=r"4 CPUs and 1 GPUs \(found a: 2 CPUs, 0 GPUs\): lower search\.resources"):
        plan_resources([node(2)], gpus_per_trial=1.0, cpus_per_trial=4, max_concurrent=None)
    with pytest.raises(ClusterError, match="found no node"):
        plan_resources([], gpus_per_trial=None, cpus_per_trial=1, max_concurrent=None)


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(0, 8)), min_size=1, max_size=5),
    st.sampled_from([None, 0.0, 0.25, 0.3, 0.5, 1.0, 2.0, 3.0]),
    st.integers(1, 8),
)
def test_what_runs_at_once_fits_into_the_nodes(sizes, gpus, cpus):
    nodes = [node(c, g) for c, g in sizes]
    try:
        found = plan_resources(nodes, gpus_per_trial=gpus, cpus_per_trial=cpus, max_concurrent=None)
    except ClusterError:
        return
    assert found.concurrent * found.cpus <= sum(n.cpus for n in nodes)
    assert found.concurrent * found.gpus <= sum(n.gpus for n in nodes) + 1e-9 or found.gpus == 0


REQUIRES = {VERSION: version("carsearch"), PHOTOS: "f"}


def test_a_node_with_everything_equal_passes():
    assert node_problems({"version": version("carsearch"), "fingerprint": "f", "error": None}, REQUIRES) == []


def test_what_differs_on_a_node_is_reported():
    problems = node_problems({"version": "0.0.0", "fingerprint": "g", "error": None}, REQUIRES)
    assert len(problems) == 2
    assert "has carsearch 0.0.0" in problems[0]
    assert "photos differ" in problems[1]
    lost = {"version": version("carsearch"), "fingerprint": None, "error": "No such file"}
    assert node_problems(lost, REQUIRES) == ["No such file"]


def test_a_type_of_gpu_is_asked_for_and_only_its_nodes_count():
    old, new = node(8, 2, "old"), Node("new", "new", cpus=16, gpus=2, accelerators=("A100",))
    found = plan_resources([old, new], gpus_per_trial=None, cpus_per_trial=4, max_concurrent=None, accelerator="A100")
    assert found.bundle == {"CPU": 4.0, "GPU": 1.0, "accelerator_type:A100": 0.001}
    assert (found.concurrent, slots(old, found), slots(new, found)) == (2, 0, 2)
    with pytest.raises(ClusterError, match="1 GPUs of type A100"):
        plan_resources([old], gpus_per_trial=None, cpus_per_trial=4, max_concurrent=None, accelerator="A100")


def row(node_id: str, host: str, address: str, *, alive: bool = True, **resources: float) -> dict:
    return {
        "NodeID": node_id,
        "Alive": alive,
        "NodeManagerHostname": host,
        "NodeManagerAddress": address,
        "Resources": resources,
    }


def test_nodes_are_named_by_host_and_by_address_where_hosts_are_equal():
    rows = [row("1", "a", "10.0.0.1", CPU=2.0), row("2", "b", "10.0.0.2"), row("3", "b", "10.0.0.3")]
    rows += [row("4", "a", "10.0.0.4", alive=False)]
    assert [one.name for one in alive_nodes(rows)] == ["a", "b (10.0.0.2)", "b (10.0.0.3)"]
    (found,) = alive_nodes([row("1", "a", "10.0.0.1", CPU=2.0, GPU=1.0, **{"accelerator_type:H100": 1.0})])
    assert found == Node("1", "a", cpus=2.0, gpus=1.0, accelerators=("H100",))
