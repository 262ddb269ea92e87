"""How trainings share a machine."""

from hypothesis import given
from hypothesis import strategies as st

from search.driver.nodes.slots import Slots, slots_for


def test_a_single_training_has_all_cores() -> None:
    assert slots_for(1, cores=16, gpus=0, cpus_per_trial=None) == Slots(16, (None,))
    assert slots_for(1, cores=2, gpus=0, cpus_per_trial=1) == Slots(2, (None,))


def test_several_trainings_share_the_cores() -> None:
    assert slots_for(4, cores=16, gpus=0, cpus_per_trial=None) == Slots(4, (None,) * 4)
    assert slots_for(4, cores=2, gpus=0, cpus_per_trial=None) == Slots(2, (None,))
    assert slots_for(4, cores=2, gpus=0, cpus_per_trial=1) == Slots(1, (None, None))
    assert slots_for(2, cores=16, gpus=0, cpus_per_trial=None) == Slots(8, (None, None))


def test_each_gpu_trains_one() -> None:
    assert slots_for(4, cores=16, gpus=2, cpus_per_trial=None) == Slots(8, (0, 1))
    assert slots_for(1, cores=16, gpus=2, cpus_per_trial=None) == Slots(16, (0,))
    assert slots_for(4, cores=16, gpus=2, cpus_per_trial=None).gpu_share == 1.0
    assert slots_for(4, cores=16, gpus=0, cpus_per_trial=None).gpu_share is None


def test_a_training_may_have_several_gpus() -> None:
    pairs = slots_for(3, cores=16, gpus=5, cpus_per_trial=None, gpus_each=2)
    assert (pairs.gpus, pairs.threads, pairs.gpu_share) == ((0, 2), 8, 2.0)
    every = slots_for(3, cores=16, gpus=4, cpus_per_trial=None, gpus_each="all")
    assert (every.gpus, every.threads, every.gpu_share) == ((0,), 16, 4.0)
    assert slots_for(1, cores=16, gpus=2, cpus_per_trial=None, gpus_each=8).gpu_share == 2.0, "what there is"
    for wish in (2, "all"):
        none = slots_for(2, cores=8, gpus=0, cpus_per_trial=None, gpus_each=wish)
        assert (none.gpus, none.gpu_share) == ((None, None), None)


@given(st.integers(1, 20), st.integers(1, 64), st.integers(0, 8), st.none() | st.integers(1, 99))
def test_no_core_or_gpu_is_assigned_twice(trainings: int, cores: int, gpus: int, wish: int | None) -> None:
    slots = slots_for(trainings, cores=cores, gpus=gpus, cpus_per_trial=wish)
    places = len(slots.gpus)
    assert 1 <= places <= trainings
    assert slots.threads >= 1
    assert slots.threads * places <= max(cores, places)
    if gpus:
        assert slots.gpus == tuple(range(places))
        assert places <= gpus
