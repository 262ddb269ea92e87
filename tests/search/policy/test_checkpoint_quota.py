from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from search.policy.checkpoint_quota import StoredCheckpoint, evictions, to_be_continued
from search.policy.records import TrialRecord, TrialState
from search.policy.rungs import Ladder
from tests.helpers.search.policy_builders import trial

LADDER = Ladder(3)
C, P, R, W, F = TrialState.COMPLETE, TrialState.PAUSED, TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL


def files(trials: Sequence[TrialRecord], *, size_bytes: int = 10) -> list[StoredCheckpoint]:
    """A full state and best weights for each trial, each of that size."""
    return [
        StoredCheckpoint(trial.number, f"attempt-0/{kind}-{max(1, trial.fidelity):04d}.npz", size_bytes)
        for trial in trials
        for kind in ("best", "epoch")
    ]


def dropped(trials: Sequence[TrialRecord], quota_bytes: int, ladder: Ladder = LADDER) -> list[tuple[int, str]]:
    cut = evictions(trials, files(trials), ladder, quota_bytes=quota_bytes)
    return [(one.number, one.name.removeprefix("attempt-0/").split("-")[0]) for one in cut.drop]


SEARCH = (
    trial(0, C, [0.5], [0.6], [0.7]),  # the baseline
    trial(1, C, [0.6], [0.7], [0.9]),  # the best
    trial(2, F, [0.4]),
    trial(3, P, [0.3]),
    trial(4, P, [0.55]),  # promotable: the third of seven that ended stage 0, of which two are promoted
    trial(5, P, [0.5], [0.65]),  # paused higher up
    trial(6, R, [0.2]),
    trial(7, P, [0.1]),
)


def test_least_useful_checkpoints_are_deleted_first():
    assert to_be_continued(SEARCH, LADDER) == {5, 6, 4}
    assert dropped(SEARCH, 0) == [
        (2, "epoch"),  # full states of what is over, the worst first
        (0, "epoch"),
        (1, "epoch"),
        (2, "best"),
        (0, "best"),  # but not the best trial's
        (7, "best"),  # then paused trials, the lowest rung and the worst first
        (7, "epoch"),
        (3, "best"),
        (3, "epoch"),
    ]


def test_paused_trials_nearest_to_promotion_are_deleted_last():
    heads = [trial(number, P, [0.1 * number]) for number in range(1, 7)]
    tops = [trial(10, P, [0.9], [0.5]), trial(11, P, [0.8], [0.6]), trial(12, C, [0.7], [0.9], [0.9])]
    trials = (*heads, *tops)
    assert to_be_continued(trials, LADDER) == {10}, "the best paused trial; all promotions are used"
    assert [number for number, kind in dropped(trials, 0) if kind == "epoch"] == [
        12,  # it is over
        1,  # the last of nine
        2,
        3,
        4,  # sixth of nine
        11,  # second of three, which is as far behind; it has more to show
        5,
        6,  # fourth of nine: it is promoted if three more end behind it
    ]


def test_released_trials_are_deleted_last():
    crossed = [trial(number, C, [0.1 * number], [1 - 0.1 * number], [0.1]) for number in range(7)]
    held_back = [trial(7, P, [0.05]), trial(8, P, [0.02]), trial(9, P, [0.3], [0.75]), trial(10, P, [0.8], [0.9])]
    trials, adaptive = (*crossed, *held_back), Ladder(3, adaptive=True)
    assert to_be_continued(trials, LADDER) == {10}
    assert [number for number, kind in dropped(trials, 0) if kind == "epoch" and number > 6] == [8, 7, 9]
    assert to_be_continued(trials, adaptive) == {7, 10}, "the best trial after the head stage is released next"
    assert [number for number, kind in dropped(trials, 0, adaptive) if kind == "epoch" and number > 6] == [9, 8]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True))
def test_within_a_rung_the_best_paused_trial_is_deleted_last(accuracies: list[float]):
    trials = tuple(trial(number, P, [accuracy], is_baseline=False) for number, accuracy in enumerate(accuracies))
    gone = list(dict.fromkeys(number for number, _ in dropped(trials, 0)))
    assert gone == sorted(gone, key=lambda number: accuracies[number])
    assert set(gone) == set(range(len(trials))) - to_be_continued(trials, LADDER)


def test_no_more_is_deleted_than_the_quota_requires():
    size = 20 * len(SEARCH)
    assert dropped(SEARCH, size) == []
    assert dropped(SEARCH, size - 1) == [(2, "epoch")]
    assert dropped(SEARCH, size - 10) == [(2, "epoch")]
    assert dropped(SEARCH, size - 11) == [(2, "epoch"), (0, "epoch")]


def test_required_checkpoints_may_exceed_the_quota():
    trials = (trial(0, P, [0.5]), trial(1, R, [0.2]), trial(2, W))
    cut = evictions(trials, files(trials), LADDER, quota_bytes=45)
    assert (cut.drop, cut.over_bytes) == ((), 15)


def test_promotable_leading_and_baseline_trials_are_continued():
    trials = (
        trial(0, P, [0.1]),  # the baseline is always taken to its end
        trial(1, P, [0.9]),  # promotable, and the best
        trial(2, P, [0.8]),
        trial(3, P, [0.2]),
    )
    assert to_be_continued(trials, LADDER) == {0, 1}
    assert to_be_continued((*trials, trial(4, F, [0.3]), trial(5, P, [0.25])), LADDER) == {0, 1, 2}, "two of six places"
    assert to_be_continued(trials, Ladder(3, prunes=False)) == {0, 1, 2, 3}


def test_only_the_final_weights_of_the_best_trial_must_stay():
    trials = (trial(0, C, [0.5, 0.6]),)
    older = StoredCheckpoint(0, "attempt-0/best-0001.npz", 10)
    assert evictions(trials, [older, *files(trials)], LADDER, quota_bytes=10).drop == (files(trials)[1], older)


def test_a_file_without_a_trial_is_deleted_first():
    trials = (trial(0, C, [0.5]),)
    strange = StoredCheckpoint(9, "attempt-0/epoch-0001.npz", 1)
    assert evictions(trials, [*files(trials), strange], LADDER, quota_bytes=20).drop == (strange,)


@st.composite
def searches(draw: st.DrawFn) -> tuple[TrialRecord, ...]:
    made = []
    for number in range(draw(st.integers(1, 8))):
        state = draw(st.sampled_from([C, P, R, W, F, TrialState.PRUNED]))
        stages = 3 if state is C else draw(st.integers(1, 2))
        made.append(trial(number, state, *([draw(st.floats(0, 1))] for _ in range(stages))))
    return tuple(made)


@given(searches(), st.data())
def test_best_and_continued_trials_stay_for_any_quota(trials: tuple[TrialRecord, ...], data: st.DataObject):
    sizes = data.draw(st.lists(st.integers(0, 50), min_size=2 * len(trials), max_size=2 * len(trials)))
    stored = [StoredCheckpoint(one.number, one.name, size) for one, size in zip(files(trials), sizes, strict=True)]
    quota = data.draw(st.integers(0, 400))
    cut = evictions(trials, stored, LADDER, quota_bytes=quota)
    left = [one for one in stored if one not in cut.drop]
    protected = to_be_continued(trials, LADDER)
    assert protected.isdisjoint(one.number for one in cut.drop)
    best = max(trials, key=lambda one: (one.best_rank, -one.number))
    assert (best.number, best.reports[-1].best_weights) in {(one.number, one.name) for one in left}
    taken = sum(one.size_bytes for one in left)
    assert cut.over_bytes == max(0, taken - quota)
    if cut.over_bytes:
        assert len(left) == 2 * len(protected) + (best.number not in protected)
    if cut.drop:
        assert taken + cut.drop[-1].size_bytes > quota, "no more than needed"
