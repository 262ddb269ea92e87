"""The study's contract, with its record in a file and in a database."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from search.errors import StudyError
from search.experiment.domains import Choice, LogUniform
from search.experiment.space import Parameter, Space
from search.policy.records import TrialState
from search.policy.transitions import completed
from search.study.study import Study
from tests.helpers.search.trial_builders import climb, epoch_report
from tests.helpers.search.written_study import CONFIG, RATE, SPACE, optuna_trials, reopened, started, train


def test_a_trial_from_its_first_segment_to_its_end(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        number = study.add_trial({RATE: 1e-3}, CONFIG, space=SPACE, is_baseline=True)
        assert (number, study.record(0).state, study.record(0).attempts) == (0, TrialState.WAITING, 0)
        assert study.start_segment(0, 0) == 0
        train(study, 0, [0.5, 0.625])
        study.reach_stage(0)
        assert (study.record(0).rung, study.record(0).next_stage, study.record(0).state) == (0, 1, TrialState.PAUSED)
        assert study.start_segment(0, 2) == 1
        train(study, 0, [0.5, 0.625], [0.75], [0.5])
        study.reach_stage(0)
        record = study.record(0)
    assert record.state is TrialState.COMPLETE
    assert record.reports == climb([0.5, 0.625], [0.75], [0.5])
    assert (record.fidelity, record.best_rank, record.rung_rank(0), record.attempts) == (
        4,
        (0.75, -0.25),
        (0.625, -0.375),
        2,
    )
    assert record.is_baseline
    assert record.params == {RATE: 1e-3}


def test_the_next_process_reads_all_records(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    train(study, started(study, is_baseline=True), [0.5, 0.625])
    study.reach_stage(0)
    study.fail(started(study, rate=1e-1), "out of memory", infeasible=True, traceback="trials/0001/traceback.txt")
    study.interrupt(started(study), "node lost")
    study.start_segment(0, 2, run_to_end=True)
    study.set_elapsed_s(12.5)
    study.set_budget_exhausted()
    study.set_value("gpu_seconds", 7)
    before = study.records()
    study = reopened(study, folder)
    assert study.records() == before
    assert (before[0].run_to_end_at, before[0].is_run_to_end, before[0].stop_after_stage) == (3, True, 2)
    assert (before[1].infeasible, before[1].cause, before[1].traceback) == (
        True,
        "out of memory",
        "trials/0001/traceback.txt",
    )
    assert (before[2].state, before[2].deaths, before[2].restarts) == (TrialState.WAITING, (0,), 1)
    assert (study.name, study.facts["version"], study.config(0)) == ("cars", version("carsearch"), CONFIG)
    assert (study.elapsed_s, study.budget_exhausted, study.get_value("gpu_seconds")) == (12.5, True, 7)
    study.close()


def test_a_repeat_is_stored_as_one(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    finalist = started(study, stop_after_stage=2)
    train(study, finalist, [0.5], [0.5], [0.75])
    study.reach_stage(finalist)
    repeat = study.add_trial({RATE: 1e-3}, CONFIG.model_copy(update={"seed": 1}), space=SPACE, repeats=finalist)
    study.start_segment(repeat, 2)
    with pytest.raises(StudyError, match="trial 1 is a repeat itself: repeat trial 0 again"):
        study.add_trial({RATE: 1e-3}, CONFIG, repeats=repeat)
    with pytest.raises(StudyError, match="no trial 7"):
        study.add_trial({RATE: 1e-3}, CONFIG, repeats=7)
    before = study.records()
    study = reopened(study, folder)
    assert study.records() == before
    assert [record.repeats for record in before] == [None, finalist]
    assert study.interrupt_running() == (repeat,)
    assert study.config(repeat).seed == 1
    study.close()


def test_run_to_end_counts_trials_without_repeats(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        number = started(study)
        study.add_trial({RATE: 1e-3}, CONFIG, repeats=number)
        train(study, number, [0.5])
        study.reach_stage(number)
        study.start_segment(number, 2, run_to_end=True)
        assert study.record(number).run_to_end_at == 1


def test_a_larger_budget_undoes_both_steps_of_exhaustion(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        assert (study.budget_exhausted, study.finals_exhausted) == (False, False)
        study.set_budget_exhausted()
        assert (study.budget_exhausted, study.finals_exhausted) == (True, False)
        study.set_budget_exhausted(finals=True)
        assert (study.budget_exhausted, study.finals_exhausted) == (True, True)
        study.set_budget_exhausted(False)
        assert (study.budget_exhausted, study.finals_exhausted) == (False, False)


def test_an_epoch_counts_once(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        number = started(study)
        first = epoch_report(1, accuracy=0.5)
        assert study.report(number, first)
        assert not study.report(number, first)
        assert not study.report(number, replace(first, val_accuracy=0.75, checkpoint="attempt-1/epoch-0001.npz"))
        assert study.report(number, epoch_report(2, accuracy=0.25))
        with pytest.raises(StudyError, match="reported epoch 4, expected 3"):
            study.report(number, epoch_report(4))
        assert [report.val_accuracy for report in study.record(number).reports] == [0.5, 0.25]
    assert optuna_trials(folder)[0].intermediate_values == {1: 0.5, 2: 0.25}


def test_lost_epochs_are_dropped_and_retrained_ones_count(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    number = started(study)
    train(study, number, [0.5, 0.625, 0.75])
    study.reach_stage(number)
    study.start_segment(number, 1)
    kept = study.record(number).reports[0]
    study.fall_back(number, 1)
    study.fall_back(number, 1)
    assert study.record(number).reports == (kept,)
    assert (study.record(number).rung, study.record(number).best_rank) == (None, kept.rank)
    assert study.record(number).fallbacks == (1,), "an epoch that was not recorded cannot be lost"
    again = epoch_report(2, accuracy=0.25, ended=True)
    assert study.report(number, again)
    study = reopened(study, folder)
    assert study.record(number).reports == (kept, again), "epoch 3 belonged to the lost training"
    study.fall_back(number, 0)
    assert study.record(number).reports == ()
    for report in climb([0.125], [0.375]):
        study.report(number, report)
    study.reach_stage(number)
    before = study.records()
    study = reopened(study, folder)
    assert study.records() == before
    assert study.record(number).reports == climb([0.125], [0.375])
    study.close()


def test_deaths_count_until_the_trial_makes_progress(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        number = started(study)
        for _ in range(2):
            study.interrupt(number, "killed")
            study.start_segment(number, 0)
        assert study.record(number).restarts == 2
        study.report(number, epoch_report(1))
        assert (study.record(number).restarts, study.record(number).deaths) == (0, (0, 0))


def test_running_trials_are_resumed_unless_they_reached_their_rung(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    middle, rung, end, untouched = (started(study, stop_after_stage=stop) for stop in (0, 0, 2, 0))
    study.report(middle, epoch_report(1))
    train(study, rung, [0.5, 0.5])
    train(study, end, [0.5], [0.5], [0.75])
    study = reopened(study, folder)
    assert study.interrupt_running() == (middle, untouched)
    states = [record.state for record in study.records()]
    assert states == [TrialState.WAITING, TrialState.PAUSED, TrialState.COMPLETE, TrialState.WAITING]
    study.close()


def test_states_as_seen_by_optuna(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        complete, paused, infeasible, failed, waiting = (started(study, stop_after_stage=2) for _ in range(5))
        train(study, complete, [0.5], [0.75], [0.625])
        study.reach_stage(complete)
        train(study, paused, [0.5, 0.375])
        study.reach_stage(paused)
        study.fail(infeasible, "diverged", infeasible=True)
        study.fail(failed, "a bug", infeasible=False)
        study.report(waiting, epoch_report(1, accuracy=0.25))
        assert [trial.state for trial in optuna_trials(folder)][1] is OptunaState.RUNNING
        with pytest.raises(StudyError, match=r"trials \[4\] are running"):
            study.finish()
        study.interrupt_running()
        study.finish()
        assert study.record(paused).state is TrialState.PRUNED
    seen = optuna_trials(folder)
    pruned, complete_state, fail = OptunaState.PRUNED, OptunaState.COMPLETE, OptunaState.FAIL
    assert [trial.state for trial in seen] == [complete_state, pruned, pruned, fail, pruned]
    assert [trial.value for trial in seen] == [0.75, 0.5, None, None, 0.25]
    assert seen[0].params == {RATE: 1e-3}
    assert seen[0].distributions == {RATE: optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)}
    assert seen[1].intermediate_values == {1: 0.5, 2: 0.375}
    assert [trial.constraints for trial in seen[1:3]] == [{}, {"infeasible": 1.0}]


def test_a_failure_can_be_retried_before_the_search_is_over(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    baseline, infeasible = started(study, is_baseline=True), started(study)
    study.interrupt(baseline, "killed")
    study.start_segment(baseline, 0)
    study.fail(baseline, "a bug", infeasible=False, traceback="trials/0000/attempt-1/output.log")
    study.fail(infeasible, "diverged", infeasible=True)
    study = reopened(study, folder)
    assert optuna_trials(folder)[0].state is OptunaState.RUNNING, "its end is not final yet"
    assert [study.retry(number) for number in (baseline, infeasible)] == [True, False]

    study = reopened(study, folder)
    record = study.record(baseline)
    assert (record.state, record.cause, record.traceback) == (TrialState.WAITING, "a bug", None)
    assert (record.attempts, record.deaths, record.is_baseline) == (2, (), True)
    with pytest.raises(StudyError, match="trial 0 is WAITING, expected FAIL"):
        study.retry(baseline)
    study.start_segment(baseline, 2)
    train(study, baseline, [0.5], [0.5], [0.75])
    study.reach_stage(baseline)
    study.close()
    assert [trial.state for trial in optuna_trials(folder)] == [OptunaState.COMPLETE, OptunaState.PRUNED]


def test_a_retried_trial_continues_after_its_last_epoch(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    number = started(study)
    study.report(number, epoch_report(1, accuracy=0.5))
    study.interrupt(number, "killed")
    study.start_segment(number, 0)
    study.fail(number, "a bug", infeasible=False)
    study = reopened(study, folder)
    assert study.retry(number)
    assert (study.record(number).fidelity, study.record(number).deaths) == (1, ())
    study.start_segment(number, 0)
    study.report(number, epoch_report(2, accuracy=0.75, ended=True))
    study.reach_stage(number)
    assert study.record(number).best_rank == epoch_report(2, accuracy=0.75).rank
    study.finish()
    assert [(trial.state, trial.value) for trial in optuna_trials(folder)] == [(OptunaState.PRUNED, 0.75)]
    study.close()


def test_a_failure_is_final_once_the_search_is_over(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        study.fail(started(study), "a bug", infeasible=False)
        study.finish()
        assert optuna_trials(folder)[0].state is OptunaState.FAIL
        started(study)
        assert not study.retry(0), "Optuna cannot reopen trials"


def test_a_finished_study_takes_more_trials_but_reopens_none(folder: Path, database: str | None):
    study = Study.create(folder, "cars", database=database)
    train(study, started(study), [0.5])
    study.reach_stage(0)
    study.finish()
    study = reopened(study, folder)
    with pytest.raises(StudyError, match="trial 0 is PRUNED, expected WAITING or PAUSED"):
        study.start_segment(0, 1)
    assert started(study) == 1
    study.close()


def test_a_value_outside_its_domain_is_only_in_our_record(folder: Path, database: str | None):
    space = Space(
        {"rate": Parameter(RATE, LogUniform(1e-5, 1e-1), ()), "size": Parameter("train.size", Choice((32, 64)), ())}
    )
    with Study.create(folder, "cars", database=database) as study:
        study.add_trial({RATE: 1.0, "train.size": 64}, CONFIG, space=space)
        assert study.record(0).params == {RATE: 1.0, "train.size": 64}
    assert optuna_trials(folder)[0].params == {"train.size": 64}


def test_a_trial_without_a_finite_epoch_is_infeasible(folder: Path, database: str | None):
    with Study.create(folder, "cars", database=database) as study:
        number = started(study, stop_after_stage=2)
        for report in climb([0.5], [0.5], [0.5]):
            study.report(number, replace(report, val_log_loss=float("nan")))
        study.reach_stage(number)
        assert (study.record(number).state, study.record(number).infeasible) == (TrialState.FAIL, True)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda study: study.reach_stage(0), "cannot pause after epoch 1"),
        (lambda study: completed(study.record(0)), "it has yet to train stage 0 of 3"),
        (lambda study: study.fall_back(0, 2), "cannot fall back to epoch 2: it has had 1"),
        (lambda study: study.start_segment(0, 1), "trial 0 is RUNNING"),
        (lambda study: study.record(1), "no trial 1: the study has 1"),
        (lambda study: study.config(-1), "no trial -1"),
    ],
)
def test_impossible_changes_are_refused(
    folder: Path, database: str | None, act: Callable[[Study], object], message: str
):
    with Study.create(folder, "cars", database=database) as study:
        study.report(started(study), epoch_report(1))
        before = study.records()
        with pytest.raises(StudyError, match=message):
            act(study)
        assert study.records() == before
