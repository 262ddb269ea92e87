"""What fits, from what was refused: a device of known size is asked until it says yes."""

from dataclasses import dataclass, replace
from functools import reduce

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.policy.oom import (
    TRIES_OF_THE_FEWEST,
    Place,
    Refusal,
    has_next,
    micro_batch,
    micro_batches,
    never_fits,
    refused_again,
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


def refusal(stage: int, photos: int, tries: int = 1, **changes) -> Refusal:
    return Refusal(replace(Place.of(recipe(), stage, DEVICE), **changes), photos, tries)


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
    assert has_next(recipe(), refusal(1, 3, tries=2))
    assert not has_next(normed, refusal(1, 3, tries=2))
    assert not has_next(recipe(), refusal(1, 1, tries=2))
    assert not has_next(recipe(batch_size=1), refusal(1, 32, tries=2))


def test_the_fewest_are_tried_once_more_before_it_never_fits() -> None:
    config = recipe(head={"batch_norm": True})
    first = refused_again((refusal(1, 7),), Place.of(config, 1, DEVICE), 3)
    assert (first, has_next(config, first)) == (refusal(1, 3), True)
    known = remember((refusal(1, 7),), first)
    assert (never_fits(known, config, 1, DEVICE), micro_batch(known, config, 1, DEVICE)) == (None, 3)
    second = refused_again(known, Place.of(config, 1, DEVICE), 3)
    assert (second, has_next(config, second)) == (refusal(1, 3, tries=2), False)
    assert remember(known, second) == (second,)
    assert never_fits((second,), config, 1, DEVICE) == second


def test_what_had_no_room_at_smaller_photos_was_a_try_for_larger_ones() -> None:
    config = recipe()
    larger = refused_again((refusal(1, 1),), Place.of(config, 2, DEVICE), 1)
    assert (larger, has_next(config, larger)) == (refusal(2, 1, tries=2), False)
    known = remember((refusal(1, 1),), larger)
    assert known == (refusal(1, 1), larger)
    assert [never_fits(known, config, stage, DEVICE) for stage in range(3)] == [None, None, larger]
    assert refused_again((larger,), Place.of(config, 1, DEVICE), 1) == refusal(1, 1), "they may need less"
    assert refused_again((refusal(1, 1),), Place.of(config, 1, DEVICE), 4) == refusal(1, 4, tries=2)
    assert refused_again((refusal(1, 4),), Place.of(config, 1, DEVICE), 1) == refusal(1, 1)


def test_what_never_fits_is_known_wherever_no_less_is_needed() -> None:
    normed = recipe(head={"batch_norm": True})
    known = (refusal(1, 3, tries=2),)
    assert [never_fits(known, normed, stage, DEVICE) for stage in range(3)] == [
        None,
        refusal(1, 3, tries=2),
        refusal(2, 3, tries=2),
    ]
    assert never_fits((refusal(1, 3), refusal(1, 4, tries=2)), normed, 1, DEVICE) is None, "3 were tried once"
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
refusals = st.lists(st.builds(Refusal, places, st.integers(1, 64), st.integers(1, 3)), max_size=12)


def bound(known, place: Place, tries: int) -> int:
    there = (one for one in known if place.needs_as_much_as(one.place) and one.tries >= tries)
    return min((one.photos for one in there), default=99)


@patiently
@given(refusals, places, st.integers(1, 3))
def test_what_is_forgotten_says_nothing_beside_what_is_kept(known, place, tries) -> None:
    kept: tuple[Refusal, ...] = reduce(remember, known, ())
    assert bound(kept, place, tries) == bound(known, place, tries)
    for one in kept:
        rest = tuple(other for other in kept if other != one)
        assert len(rest) == len(kept) - 1
        assert bound(rest, one.place, one.tries) > one.photos, "each that is kept is needed"


@patiently
@given(st.integers(0, 40), st.integers(1, 64), st.booleans(), st.integers(0, 2))
def test_a_device_is_asked_until_it_has_room_or_nothing_smaller_is_left(room, batch_size, has_norm, stage) -> None:
    """The room in photos. Ends, and finds more than half of what would have fitted."""
    config = recipe(batch_size=max(batch_size, 2), head={"batch_norm": has_norm})
    known: tuple[Refusal, ...] = ()
    for _ in range(10):
        photos = micro_batch(known, config, stage, DEVICE) or config.batch_size
        if photos <= room:
            assert photos == config.batch_size or 2 * photos + 1 > min(room, config.batch_size)
            return
        refused = refused_again(known, Place.of(config, stage, DEVICE), photos)
        known = remember(known, refused)
        hopeless = never_fits(known, config, stage, DEVICE)
        assert (hopeless is None) == has_next(config, refused), "no other trial tries what this one found out"
        if hopeless is not None:
            assert room < smallest_micro_batch(config)
            return
    pytest.fail("never came to an end")


@dataclass
class Trying:
    """A trial's stage, tried until it fits or is infeasible, beside others that tell the same memory."""

    config: TrainConfig
    stage: int
    tries: int = 0
    knew: tuple[Refusal, ...] | None = None
    """What it was begun in knowledge of; None: it does not run."""
    is_over: bool = False

    @property
    def place(self) -> Place:
        return Place.of(self.config, self.stage, DEVICE)

    def begin(self, known: tuple[Refusal, ...]) -> None:
        self.is_over = never_fits(known, self.config, self.stage, DEVICE) is not None
        self.knew = None if self.is_over else known

    def refuse(self) -> Refusal:
        assert self.knew is not None
        photos = micro_batch(self.knew, self.config, self.stage, DEVICE) or self.config.batch_size
        refused = refused_again(self.knew, self.place, photos)
        self.is_over = not has_next(self.config, refused)
        self.tries, self.knew = self.tries + 1, None
        return refused


trying = st.builds(
    lambda batch_size, has_norm, stage: Trying(recipe(batch_size=batch_size, head={"batch_norm": has_norm}), stage),
    st.integers(2, 64),
    st.booleans(),
    st.integers(0, 2),
)


@patiently
@given(st.lists(trying, min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=30))
def test_trials_side_by_side_that_never_have_room_come_to_an_end(trials, order) -> None:
    known: tuple[Refusal, ...] = ()
    told: list[Refusal] = []
    for at in [*order, *[number for number in range(3) for _ in range(40)]]:
        one = trials[at % len(trials)]
        if one.is_over:
            continue
        if one.knew is None:
            one.begin(known)
            continue
        told.append(one.refuse())
        known = remember(known, told[-1])
    for one in trials:
        assert one.is_over
        assert one.tries <= one.config.batch_size.bit_length() + TRIES_OF_THE_FEWEST
        fewest = min(smallest_micro_batch(one.config), one.config.batch_size)
        there = [said for said in told if said.photos <= fewest and one.place.needs_as_much_as(said.place)]
        assert len(there) >= TRIES_OF_THE_FEWEST
        assert never_fits(known, one.config, one.stage, DEVICE) is not None, "later trials know"


@patiently
@given(st.lists(trying, min_size=1, max_size=5), st.lists(st.integers(1, 5), max_size=5))
def test_one_moment_without_memory_closes_nothing(trials, photos) -> None:
    """Whatever had no room before for lack of memory of its own: all that run then are told so at once."""
    known: tuple[Refusal, ...] = reduce(remember, (refusal(1, so_many) for so_many in photos if so_many > 3), ())
    for one in trials:
        one.begin(known)
    after = reduce(remember, [one.refuse() for one in trials], known)
    for one in trials:
        assert not one.is_over
        assert never_fits(after, one.config, one.stage, DEVICE) is None


@patiently
@given(st.builds(Refusal, places, st.integers(1, 64), st.integers(1, 3)))
def test_a_refusal_survives_json(one) -> None:
    assert Refusal.from_json(one.to_json()) == one


def test_what_an_older_study_keeps_was_one_try() -> None:
    values = refusal(1, 3, tries=2).to_json()
    del values["tries"]
    assert Refusal.from_json(values) == refusal(1, 3)
