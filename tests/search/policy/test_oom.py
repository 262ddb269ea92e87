"""Which micro-batches fit, tried on a device of known size."""

from dataclasses import dataclass, replace
from functools import reduce

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.policy.oom import (
    SMALLEST_BATCH_TRIES,
    OomKey,
    OomRecord,
    merged,
    micro_batch,
    micro_batches,
    never_fits,
    next_record,
    smallest_micro_batch,
    worth_retrying,
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


def record(stage: int, photos: int, tries: int = 1, **changes) -> OomRecord:
    return OomRecord(replace(OomKey.of(recipe(), stage, DEVICE), **changes), photos, tries)


def test_whole_batches_until_one_runs_out_of_memory() -> None:
    assert micro_batches((), recipe(), DEVICE) == (None, None, None)


def test_later_trials_start_with_half_the_failed_size() -> None:
    known = (record(1, 32),)
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
        {"trains_statistics": True},
    ],
)
def test_a_record_does_not_apply_to_stages_that_may_need_less(changes) -> None:
    assert micro_batch([record(1, 32, **changes)], recipe(), 1, DEVICE) is None


def test_batch_norm_never_sees_single_photos() -> None:
    normed = recipe(head={"batch_norm": True})
    assert [smallest_micro_batch(config) for config in (recipe(), normed, recipe(weights="none"))] == [1, 3, 3]
    known = (record(1, 5),)
    assert micro_batch(known, recipe(), 1, DEVICE) == 2
    assert micro_batch(known, normed, 1, DEVICE) == 3, "parts of 2 would leave one photo of each odd batch"
    assert worth_retrying(recipe(), record(1, 3, tries=2))
    assert not worth_retrying(normed, record(1, 3, tries=2))
    assert not worth_retrying(recipe(), record(1, 1, tries=2))
    assert not worth_retrying(recipe(batch_size=1), record(1, 32, tries=2))


def test_the_smallest_micro_batch_is_tried_twice() -> None:
    config = recipe(head={"batch_norm": True})
    first = next_record((record(1, 7),), OomKey.of(config, 1, DEVICE), 3)
    assert (first, worth_retrying(config, first)) == (record(1, 3), True)
    known = merged((record(1, 7),), first)
    assert (never_fits(known, config, 1, DEVICE), micro_batch(known, config, 1, DEVICE)) == (None, 3)
    second = next_record(known, OomKey.of(config, 1, DEVICE), 3)
    assert (second, worth_retrying(config, second)) == (record(1, 3, tries=2), False)
    assert merged(known, second) == (second,)
    assert never_fits((second,), config, 1, DEVICE) == second


def test_a_try_with_smaller_photos_counts_for_larger_ones() -> None:
    config = recipe()
    larger = next_record((record(1, 1),), OomKey.of(config, 2, DEVICE), 1)
    assert (larger, worth_retrying(config, larger)) == (record(2, 1, tries=2), False)
    known = merged((record(1, 1),), larger)
    assert known == (record(1, 1), larger)
    assert [never_fits(known, config, stage, DEVICE) for stage in range(3)] == [None, None, larger]
    assert next_record((larger,), OomKey.of(config, 1, DEVICE), 1) == record(1, 1), "they may need less"
    assert next_record((record(1, 1),), OomKey.of(config, 1, DEVICE), 4) == record(1, 4, tries=2)
    assert next_record((record(1, 4),), OomKey.of(config, 1, DEVICE), 1) == record(1, 1)


def test_never_fits_applies_to_stages_that_need_no_less() -> None:
    normed = recipe(head={"batch_norm": True})
    known = (record(1, 3, tries=2),)
    assert [never_fits(known, normed, stage, DEVICE) for stage in range(3)] == [
        None,
        record(1, 3, tries=2),
        record(2, 3, tries=2),
    ]
    assert never_fits((record(1, 3), record(1, 4, tries=2)), normed, 1, DEVICE) is None, "3 were tried once"
    assert never_fits(known, recipe(), 1, DEVICE) is None, "single photos may have room"
    assert never_fits(known, normed, 1, "CPU, 32 MiB") is None, "another device"
    assert never_fits(known, recipe(batch_size=2, head={"batch_norm": True}), 1, DEVICE) is None, "its batch is smaller"


keys = st.builds(
    OomKey,
    device=st.sampled_from(["CPU, 1 MiB", "CPU, 2 MiB"]),
    backbone=st.sampled_from(["MobileNet", "Xception"]),
    alpha=st.just(1.0),
    precision=st.just("auto"),
    image_size=st.integers(32, 40),
    unfreeze=st.sampled_from([0.0, 0.5, 1.0]),
)
records = st.lists(st.builds(OomRecord, keys, st.integers(1, 64), st.integers(1, 3)), max_size=12)


def bound(known, key: OomKey, tries: int) -> int:
    there = (one for one in known if key.needs_as_much_as(one.key) and one.tries >= tries)
    return min((one.photos for one in there), default=99)


@patiently
@given(records, keys, st.integers(1, 3))
def test_merging_drops_only_redundant_records(known, key, tries) -> None:
    kept: tuple[OomRecord, ...] = reduce(merged, known, ())
    assert bound(kept, key, tries) == bound(known, key, tries)
    for one in kept:
        rest = tuple(other for other in kept if other != one)
        assert len(rest) == len(kept) - 1
        assert bound(rest, one.key, one.tries) > one.photos, "each that is kept is needed"


@patiently
@given(st.integers(0, 40), st.integers(1, 64), st.booleans(), st.integers(0, 2))
def test_retries_end_with_a_size_that_fits_or_the_smallest(room, batch_size, has_norm, stage) -> None:
    """room: photos that fit. The retries end, and find more than half of what would have fitted."""
    config = recipe(batch_size=max(batch_size, 2), head={"batch_norm": has_norm})
    known: tuple[OomRecord, ...] = ()
    for _ in range(10):
        photos = micro_batch(known, config, stage, DEVICE) or config.batch_size
        if photos <= room:
            assert photos == config.batch_size or 2 * photos + 1 > min(room, config.batch_size)
            return
        refused = next_record(known, OomKey.of(config, stage, DEVICE), photos)
        known = merged(known, refused)
        hopeless = never_fits(known, config, stage, DEVICE)
        assert (hopeless is None) == worth_retrying(config, refused), "no other trial tries what this one found out"
        if hopeless is not None:
            assert room < smallest_micro_batch(config)
            return
    pytest.fail("never came to an end")


@dataclass
class Trying:
    """A trial's stage, tried until it fits or is infeasible, beside others that share the records."""

    config: TrainConfig
    stage: int
    tries: int = 0
    knew: tuple[OomRecord, ...] | None = None
    """The records known when it started; None while it does not run."""
    is_over: bool = False

    @property
    def key(self) -> OomKey:
        return OomKey.of(self.config, self.stage, DEVICE)

    def begin(self, known: tuple[OomRecord, ...]) -> None:
        self.is_over = never_fits(known, self.config, self.stage, DEVICE) is not None
        self.knew = None if self.is_over else known

    def refuse(self) -> OomRecord:
        assert self.knew is not None
        photos = micro_batch(self.knew, self.config, self.stage, DEVICE) or self.config.batch_size
        refused = next_record(self.knew, self.key, photos)
        self.is_over = not worth_retrying(self.config, refused)
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
def test_concurrent_trials_without_memory_end(trials, order) -> None:
    known: tuple[OomRecord, ...] = ()
    told: list[OomRecord] = []
    for at in [*order, *[number for number in range(3) for _ in range(40)]]:
        one = trials[at % len(trials)]
        if one.is_over:
            continue
        if one.knew is None:
            one.begin(known)
            continue
        told.append(one.refuse())
        known = merged(known, told[-1])
    for one in trials:
        assert one.is_over
        assert one.tries <= one.config.batch_size.bit_length() + SMALLEST_BATCH_TRIES
        fewest = min(smallest_micro_batch(one.config), one.config.batch_size)
        there = [said for said in told if said.photos <= fewest and one.key.needs_as_much_as(said.key)]
        assert len(there) >= SMALLEST_BATCH_TRIES
        assert never_fits(known, one.config, one.stage, DEVICE) is not None, "later trials know"


@patiently
@given(st.lists(trying, min_size=1, max_size=5), st.lists(st.integers(1, 5), max_size=5))
def test_one_moment_without_memory_rules_nothing_out(trials, photos) -> None:
    """All running trials run out of memory at once, whatever had failed before."""
    known: tuple[OomRecord, ...] = reduce(merged, (record(1, so_many) for so_many in photos if so_many > 3), ())
    for one in trials:
        one.begin(known)
    after = reduce(merged, [one.refuse() for one in trials], known)
    for one in trials:
        assert not one.is_over
        assert never_fits(after, one.config, one.stage, DEVICE) is None


@patiently
@given(st.builds(OomRecord, keys, st.integers(1, 64), st.integers(1, 3)))
def test_a_record_survives_json(one) -> None:
    assert OomRecord.from_json(one.to_json()) == one
    assert list(one.to_json()) == ["place", "photos", "tries"], "as stored in studies"


def test_records_of_older_studies_count_as_one_try() -> None:
    values = record(1, 3, tries=2).to_json()
    del values["tries"]
    assert OomRecord.from_json(values) == record(1, 3)
