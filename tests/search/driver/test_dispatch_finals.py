"""How the dispatcher hands out the repeats of the finalists."""

from dataclasses import replace

import pytest

from search.policy.records import TrialState
from tests.helpers.search.dispatch_desk import CPU, FINALS, finish


def test_the_finals_train_the_same_configurations_with_other_seeds(open_desk) -> None:
    desk = open_desk(*FINALS, "train.seed=5")
    segments = finish(desk, {1: 0.2, 2: 0.9})

    records = desk.study.records()
    assert [(record.number, record.repeats) for record in records[3:]] == [(3, 0), (4, 2), (5, 0), (6, 2)]
    assert all(record.state is TrialState.COMPLETE and record.attempts == 1 for record in records[3:])
    assert [(segment.number, segment.stop_after_stage) for segment in segments[-4:]] == [(n, 1) for n in (3, 4, 5, 6)]
    for number, finalist, seed in ((3, 0, 6), (4, 2, 6), (5, 0, 7), (6, 2, 7)):
        own = desk.study.config(finalist)
        assert desk.study.config(number) == own.model_copy(update={"seed": seed})
        assert own.seed == 5
        assert records[number].params == records[finalist].params
        assert not records[number].is_baseline


def test_repeats_are_not_counted_as_trials(open_desk) -> None:
    finish(open_desk(*FINALS), {1: 0.2, 2: 0.9})
    more = open_desk(*FINALS[:1], "search.trials=4")
    segments = finish(more, {7: 0.95})
    assert segments[0].number == 7
    assert [record.repeats for record in more.study.records()[7:]] == [None, 7, 7]


def test_repeats_of_the_largest_seed_wrap_around(open_desk) -> None:
    desk = open_desk("search.finalists={count: 1, seeds: 1}", "search.trials=1", f"train.seed={2**31 - 1}")
    finish(desk, {})
    assert desk.study.config(1).seed == 0


@pytest.mark.parametrize(
    ("hours", "proposed", "repeats"),
    [
        # A whole trial takes an hour, a head two thirds of one. With two whole ones the search takes three, the finals
        # four, of which at most half of the budget is set aside; what has begun is ended.
        (8.0, 3, 4),
        (6.0, 3, 3),
        (3.0, 2, 1),
        (2.0, 1, 1),
        (1.0, 1, 0),
    ],
)
def test_the_search_reserves_time_for_its_finals(open_desk, hours: float, proposed: int, repeats: int) -> None:
    worker = replace(CPU, gpu_share=1.0)
    desk = open_desk(*FINALS, f"search.budget.gpu_hours={hours}", worker=worker)
    finish(desk, {1: 0.2, 2: 0.9}, train_s=1200.0)
    records = desk.study.records()
    assert (sum(r.repeats is None for r in records), sum(r.repeats is not None for r in records)) == (proposed, repeats)
    assert desk.study.finals_exhausted is (hours < 8.0)
