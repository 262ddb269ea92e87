"""Every change of a trial: the states that allow it, and the fields that it keeps."""

from collections.abc import Callable
from dataclasses import fields

import pytest

from search.errors import StudyError
from search.policy import transitions
from search.policy.records import OUT_OF_TIME, TrialRecord, TrialState
from search.policy.trial_book import TrialBook
from tests.helpers.search.policy_builders import trial

WAITING, RUNNING, PAUSED = TrialState.WAITING, TrialState.RUNNING, TrialState.PAUSED
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL

HALF_WAY = ([0.5, 0.6],)
"""One of three stages, ended."""
WHOLE = ([0.5], [0.6], [0.7])

Change = Callable[[TrialRecord], TrialRecord]
TABLE: dict[str, tuple[Change, tuple[list[float], ...], dict[TrialState, TrialState]]] = {
    "started": (lambda one: transitions.started(one, 1), HALF_WAY, {WAITING: RUNNING, PAUSED: RUNNING}),
    "paused": (transitions.paused, HALF_WAY, {RUNNING: PAUSED}),
    "completed": (transitions.completed, WHOLE, {RUNNING: COMPLETE}),
    "stage reached": (transitions.stage_reached, HALF_WAY, {RUNNING: PAUSED}),
    "last stage reached": (transitions.stage_reached, WHOLE, {RUNNING: COMPLETE}),
    "failed": (lambda one: transitions.failed(one, "why", infeasible=False), (), {WAITING: FAIL, RUNNING: FAIL}),
    "retried": (transitions.retried, HALF_WAY, {FAIL: WAITING}),
    "interrupted": (lambda one: transitions.interrupted(one, "why", died=True), (), {RUNNING: WAITING}),
    "fallen back": (lambda one: transitions.fallen_back(one, 1), HALF_WAY, {RUNNING: RUNNING}),
    "pruned": (transitions.pruned, HALF_WAY, {WAITING: PRUNED, RUNNING: PRUNED, PAUSED: PRUNED}),
}


@pytest.mark.parametrize("state", TrialState)
@pytest.mark.parametrize("name", TABLE)
def test_each_change_is_allowed_only_from_its_states(name: str, state: TrialState) -> None:
    change, curves, allowed = TABLE[name]
    record = trial(3, state, *curves)
    if state in allowed:
        assert change(record).state is allowed[state]
    else:
        with pytest.raises(StudyError, match=f"trial 3 is {state}, expected "):
            change(record)


@pytest.mark.parametrize("name", TABLE)
def test_no_change_touches_the_identity_of_a_trial(name: str) -> None:
    change, curves, allowed = TABLE[name]
    for state in allowed:
        before = trial(3, state, *curves, repeats=1, fold=2)
        after = change(before)
        for kept in ("number", "params", "stage_count", "is_baseline", "repeats", "fold"):
            assert getattr(after, kept) == getattr(before, kept)
    assert {field.name for field in fields(TrialRecord)} >= {"number", "state", "reports"}


def test_a_trial_cannot_pause_or_complete_within_a_stage() -> None:
    waiting = transitions.new_trial(0, {}, stage_count=2)
    with pytest.raises(StudyError, match="cannot pause after epoch 0"):
        transitions.paused(transitions.started(waiting, 0))
    with pytest.raises(StudyError, match="it has yet to train stage 1 of 3"):
        transitions.completed(trial(0, RUNNING, [0.5]))


def test_a_segment_that_reached_its_rung_is_not_restarted() -> None:
    reached = trial(0, RUNNING, *HALF_WAY, stop_after_stage=0)
    assert transitions.interrupted(reached, "node lost", died=True).state is PAUSED
    on_its_way = trial(0, RUNNING, *HALF_WAY, stop_after_stage=1)
    lost = transitions.interrupted(on_its_way, "node lost", died=True)
    assert (lost.state, lost.cause, lost.deaths) == (WAITING, "node lost", (2,))
    assert transitions.interrupted(on_its_way, "no room", died=False).deaths == ()


def test_a_retried_trial_gets_all_restarts_back() -> None:
    assert transitions.retried(trial(0, FAIL, deaths=(0, 0), traceback="output.log")).restarts == 0
    with pytest.raises(StudyError, match="infeasible"):
        transitions.retried(trial(0, FAIL, infeasible=True))


def test_finishing_prunes_waiting_trials_but_not_cut_off_ones() -> None:
    book = TrialBook(
        [
            trial(0, COMPLETE, *WHOLE),
            trial(1, PAUSED, *HALF_WAY),
            trial(2, WAITING, *HALF_WAY),
            trial(3, WAITING),
            trial(4, WAITING, *HALF_WAY, cause=OUT_OF_TIME),
        ]
    )
    book.finish()
    assert [record.state for record in book.records()] == [COMPLETE, PRUNED, PRUNED, FAIL, WAITING]
    assert book.record(3).cause == transitions.NEVER_STARTED
    with pytest.raises(StudyError, match=r"trials \[0\] are running"):
        TrialBook([trial(0, RUNNING)]).finish()


def test_each_epoch_is_recorded_once_and_in_order() -> None:
    whole = trial(0, RUNNING, *HALF_WAY).reports
    book = TrialBook([trial(0, RUNNING)])
    assert book.report(0, whole[0])
    assert not book.report(0, whole[0])
    with pytest.raises(StudyError, match="no trial 1"):
        book.report(1, whole[0])
    book.fall_back(0, 0)
    with pytest.raises(StudyError, match="reported epoch 2, expected 1"):
        book.report(0, whole[1])
    assert book.record(0).fallbacks == (0,)
