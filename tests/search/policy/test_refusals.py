"""What fits, from what was refused: a device of known size is asked until it says yes."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.policy.memory import (
    Place,
    Refusal,
    has_next,
    micro_batch,
    micro_batches,
    never_fits,
    remember,
    smallest_micro_batch,
)

DEVICE = "CPU, 16 MiB"
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Test machines are busy."""


def recipe(**changes) -> TrainConfig:
    values = {
        "backbone": "MobileNet",
        "image_size": 100,
        "batch_size": 32,
        "head": {"batch_norm": False},
        "stages": [
            {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.1},
            {"name": "half", "unfreeze": 0.5, "epochs": 1, "learning_rate": 0.1},
            {"name": "full", "unfreeze": 1.0, "epochs": 1, "learning_rate": 0.1, "image_scale": 1.5},
        ],
    }
    return TrainConfig.model_validate(values | changes)


def refusal(stage: int, photos: int, **changes) -> Refusal:
    return Refusal(replace(Place.of(recipe(), stage, DEVICE), **changes), photos)


def test_whole_batches_until_something_is_refused() -> None:
    assert micro_batches((), recipe(), DEVICE) == (None, None, None)


def test_half_of_what_was_refused_is_tried_by_later_trials_too() -> None:
    known = (refusal(1, 32),)
    assert micro_batches(known, recipe(), DEVICE) == (None, 16, 16), "less frozen and larger photos need no less"
    assert micro_batch(known, recipe(batch_size=16), 1, DEVICE) is None, "its batch is no larger than what is tried"
    assert micro_batch(known, recipe(batch_size=24), 1, DEVICE) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "CPU, 32 MiB"},
        {"backbone": "Xception"},
        {"alpha": 0.5},
        {"precision": "float16"},
        {"image_size": 101},
        {"unfreeze": 0.51},
    ],
)
def test_a_refusal_says_nothing_of_what_may_need_less(changes) -> None:
    assert micro_batch([refusal(1, 32, **changes)], recipe(), 1, DEVICE) is None


def test_batch_norm_is_never_shown_single_photos() -> None:
    normed = recipe(head={"batch_norm": True})
    assert [smallest_micro_batch(config) for config in (recipe(), normed, recipe(weights="none"))] == [1, 3, 3]
    known = (refusal(1, 5),)
    assert micro_batch(known, recipe(), 1, DEVICE) == 2
    assert micro_batch(known, normed, 1, DEVICE) == 3, "parts of 2 would leave one photo of each odd batch"
    assert has_next(recipe(), 3)
    assert not has_next(normed, 3)
    assert not has_next(recipe(), 1)
    assert not has_next(recipe(batch_size=1), 32)


def test_what_never_fits_is_known_wherever_no_less_is_needed() -> None:
    normed = recipe(head={"batch_norm": True})
    known = (refusal(1, 3),)
    assert [never_fits(known, normed, stage, DEVICE) for stage in range(3)] == [None, refusal(1, 3), refusal(2, 3)]
    assert never_fits(known, recipe(), 1, DEVICE) is None, "single photos may have room"
    assert never_fits(known, normed, 1, "CPU, 32 MiB") is None, "another device"
    assert never_fits(known, recipe(batch_size=2, head={"batch_norm": True}), 1, DEVICE) is None, "its batch is smaller"


places = st.builds(
    Place,
    device=st.sampled_from(["CPU, 1 MiB", "CPU, 2 MiB"]),
    backbone=st.sampled_from(["MobileNet", "Xception"]),
    alpha=st.just(1.0),
    precision=st.just("auto"),
    image_size=st.integers(32, 40),
    unfreeze=st.sampled_from([0.0, 0.5, 1.0]),
)
refusals = st.lists(st.builds(Refusal, places, st.integers(1, 64)), max_size=12)


def bound(known, place: Place) -> int:
    return min((one.photos for one in known if place.needs_as_much_as(one.place)), default=99)


@patiently
@given(refusals, places)
def test_what_is_forgotten_says_nothing_beside_what_is_kept(known, place) -> None:
    kept: tuple[Refusal, ...] = ()
    for one in known:
        kept = remember(kept, one)
    assert bound(kept, place) == bound(known, place)
    for one in kept:
        rest = tuple(other for other in kept if other != one)
        assert len(rest) == len(kept) - 1
        assert bound(rest, one.place) > one.photos, "each that is kept is needed"


@patiently
@given(st.integers(0, 40), st.integers(1, 64), st.booleans(), st.integers(0, 2))
def test_a_device_is_asked_until_it_has_room_or_nothing_smaller_is_left(room, batch_size, has_norm, stage) -> None:
    """The room in photos. Ends, and finds more than half of what would have fitted."""
    config = recipe(batch_size=max(batch_size, 2), head={"batch_norm": has_norm})
    known: tuple[Refusal, ...] = ()
    for _ in range(9):
        photos = micro_batch(known, config, stage, DEVICE) or config.batch_size
        if photos <= room:
            assert photos == config.batch_size or 2 * photos + 1 > min(room, config.batch_size)
            return
        known = remember(known, Refusal(Place.of(config, stage, DEVICE), photos))
        hopeless = never_fits(known, config, stage, DEVICE)
        assert (hopeless is None) == has_next(config, photos), "no other trial tries what this one found out"
        if hopeless is not None:
            assert room < smallest_micro_batch(config)
            return
    pytest.fail("never came to an end")


@patiently
@given(st.builds(Refusal, places, st.integers(1, 64)))
def test_a_refusal_survives_json(one) -> None:
    assert Refusal.from_json(one.to_json()) == one
