"""`carsearch run --hours`: the steps after a search, their plan, and what a later call makes of them."""

import csv
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from carcls.events import EpochReport
from search.cli.whole_run import _begun, _final_stages, _finals_at_once
from search.cli.whole_run_record import plan_of
from search.driver.create import create_study
from search.experiment.experiment import load
from search.final import final_slots
from search.policy.durations import StageLength
from search.policy.records import TrialState
from search.policy.time_plan import DONE, ENSEMBLE, FINAL, SEARCH, plan_lines
from search.progress.closing_lines import ended_clauses, limits_of
from search.study.final_scores import read_scores
from search.study.finals_beside import finals_beside, trial_beside
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun
from search.study.study import Study
from tests.helpers.search.processes import descendants, kill, run_cli, start_cli, wait_until
from tests.helpers.search.tiny import CLASSES, EXPERIMENT, TEST_PER_CLASS, TRAIN_PER_CLASS, write_tiny
from tests.helpers.search.trained_study import trained_study
from tests.helpers.search.trial_builders import climb, trial
from tests.helpers.search.untrained_study import untrained_study

WHOLE = WholeRun(
    hours=1.0, outside_s=60.0, folds=2, is_refitted=False, final_ratio=2.0, at_once=1, stage_weights=(1.0, 3.5)
)


def test_time_of_all_steps_and_calls_counts() -> None:
    record = trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]))
    plan = WHOLE.plan([record], searched_s=600.0)
    assert (plan.total_s, plan.spent_s) == (3600.0, 660.0)
    assert plan.seconds(FINAL) == pytest.approx(2 * 1.25 * 2.0 * 3 * 3.75), "two folds of twice the trial's epochs"
    later = WHOLE.after(40.0, FINAL)
    assert later.plan([record], searched_s=600.0).spent_s == 700.0
    assert later.plan([record], searched_s=600.0).seconds(SEARCH) == 0.0


def test_the_ensemble_has_its_time_once_a_final_training_is_over() -> None:
    record = trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]))
    asked = replace(WHOLE, folds=4, stage=FINAL, train_share=0.8)
    one_s = (3.0 - 2.0 / 4) / (1.0 + 2.0 * 0.8) * WHOLE.estimated_s(record)
    searched_s = 3600.0 - 60.0 - 180.0 - 4 * 1.1 * one_s - 20.0  # 108 s of the ensemble are needed for four folds
    plan = asked.plan([record], searched_s=searched_s)
    assert (plan.folds, plan.seconds(ENSEMBLE)) == (4, 0.0)
    older = replace(asked, train_share=None).plan([record], searched_s=searched_s + 18.0)
    assert older.folds == 3, "a fold is taken to last as long as the search's training"
    assert asked.plan([record], searched_s=searched_s + 18.0).folds == 4
    assert asked.after_final(1.0, "retrain").plan([record], searched_s=searched_s).seconds(ENSEMBLE) == 108.0
    assert replace(asked, stage=ENSEMBLE).plan([record], searched_s=searched_s).seconds(ENSEMBLE) == 108.0


def test_stages_of_the_final_training_say_more_than_its_epochs() -> None:
    record = trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]))  # each 3 s, 0.5 s to validate, 0.25 s to build
    stages = tuple(StageLength(epochs, is_frozen=number == 0) for number, epochs in enumerate((1, 1, 8)))
    plan = replace(WHOLE, final_stages=stages).plan([record], searched_s=600.0)
    assert plan.seconds(FINAL) == pytest.approx(2 * 1.25 * (3 * 0.25 + 10 * 3.5))
    other = replace(WHOLE, final_stages=(*stages, stages[-1])).plan([record], searched_s=600.0)
    assert other.seconds(FINAL) == WHOLE.plan([record], searched_s=600.0).seconds(FINAL), "by the ratio of epochs"


def test_only_epochs_that_the_file_sets_are_those_of_every_trials_final_training(tmp_path: Path) -> None:
    experiment = load(write_tiny(tmp_path, EXPERIMENT))
    stages = _final_stages(experiment, experiment.bind(experiment.baseline))
    assert [stage.epochs for stage in stages] == [None, 2]
    assert [stage.is_frozen for stage in stages] == [True, False]
    head, full = (f"name: {name}, unfreeze: {share}, learning_rate: 0.001" for name, share in (("a", 0.0), ("b", 1.0)))
    whole = f"retrain.stages=[{{{head}, epochs: 3}}, {{{full}, epochs: 4}}]"
    experiment = load(tmp_path / "tiny.yaml", [whole])
    stages = _final_stages(experiment, experiment.bind(experiment.baseline))
    assert [stage.epochs for stage in stages] == [3, 4], "all stages are the file's"


def test_a_final_stage_that_trains_other_blocks_is_timed_by_a_stage_that_trains_as_many(tmp_path: Path) -> None:
    stages = ", ".join(
        f"{{name: {name}, unfreeze: {share}, epochs: 1, learning_rate: 0.001}}"
        for name, share in (("head", 0.0), ("most", 0.75), ("full", 1.0))
    )
    file = write_tiny(tmp_path, EXPERIMENT)
    for retrained, paced in (("0.75", 1), ("1.0", None), ("0.5", None)):
        experiment = load(
            file, [f"train.stages=[{stages}]", f"retrain={{stages: {{full: {{unfreeze: {retrained}}}}}}}"]
        )
        found = _final_stages(experiment, experiment.bind(experiment.baseline))
        assert [stage.paced_by for stage in found] == [None, None, paced]


def test_without_a_whole_trial_a_run_with_more_hours_searches_on(tmp_path: Path) -> None:
    experiment = load(
        write_tiny(tmp_path, EXPERIMENT), [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}"]
    )
    folder = create_study(experiment)
    with Study.open(folder.root) as study:
        replace(WHOLE, stage=FINAL).keep(study)
        study.set_budget_exhausted()
        study.finish()
    assert _begun(folder, experiment, 2.0, None, started=time.monotonic()).stage == SEARCH
    study = Study.open(folder.root, read_only=True)
    assert not study.budget_exhausted
    assert not study.is_finished
    assert WholeRun.of(study).hours == 2.0


def test_more_hours_for_the_final_training_do_not_change_why_the_search_ended(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, "search.trials=50")
    with Study.open(folder.root) as study:
        replace(WHOLE, stage=FINAL).keep(study)
        study.set_budget_exhausted(by=1.0)
    assert _begun(folder, experiment, 2.0, None, started=time.monotonic()).stage == FINAL
    study = Study.open(folder.root, read_only=True)
    assert ended_clauses(study, limits_of(study, experiment)) == ("the search's part of --hours 1 is used up",)


@pytest.mark.parametrize(
    ("pseudo", "share"), [("{}", CLASSES * TEST_PER_CLASS / (CLASSES * TRAIN_PER_CLASS)), ("null", 0.0)]
)
def test_photos_that_may_get_pseudo_labels_are_planned_for(tmp_path: Path, pseudo: str, share: float) -> None:
    changes = [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}", f"data.pseudo={pseudo}"]
    experiment = load(write_tiny(tmp_path, EXPERIMENT), changes)
    whole = _begun(create_study(experiment), experiment, 8.0, None, started=time.monotonic())
    assert (whole.is_pseudo, whole.pseudo_share) == (share > 0, pytest.approx(share))
    assert whole.train_share == 0.75


def test_final_trainings_are_planned_by_the_cores_and_gpus_that_they_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = load(write_tiny(tmp_path, EXPERIMENT))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    monkeypatch.setattr(final_slots, "gpu_count", lambda: 0)
    assert _finals_at_once(experiment, None) == 3, "one core each"
    assert final_slots.final_slots(experiment, 2).threads == 1
    monkeypatch.setattr(final_slots, "gpu_count", lambda: 2)
    assert _finals_at_once(experiment, None) == 2


def test_a_search_has_no_more_hours_than_its_file_allows(tmp_path: Path) -> None:
    where = [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}", "search.budget.hours=0.1"]
    experiment = load(write_tiny(tmp_path, EXPERIMENT), where)
    folder = create_study(experiment)
    whole = _begun(folder, experiment, 8.0, None, started=time.monotonic())
    plan = plan_of(folder, whole.after(60.0, SEARCH), experiment)
    assert plan.seconds(SEARCH) == pytest.approx(360.0), "seconds outside of the search are none of its budget"
    plan = whole.plan([], searched_s=60.0, search_hours=experiment.search.budget.hours)
    assert plan.seconds(SEARCH) == pytest.approx(300.0)
    assert sum(phase.seconds for phase in plan.phases) == pytest.approx(plan.left_s)
    assert plan_lines(plan)[-1] == (
        f"  search.budget.hours ends the search {plan.spare_s / 3600:.1f} h early: that is for final trainings, as far"
        " as they can use it"
    )
    more = load(tmp_path / "tiny.yaml", [*where, "search.budget.hours=0.2"])
    assert plan_of(folder, whole, more).seconds(SEARCH) == pytest.approx(720.0), "a larger budget counts at once"


def test_the_study_keeps_it(tmp_path: Path) -> None:
    with Study.create(tmp_path, "x") as study:
        assert WholeRun.of(study) is None
        WHOLE.keep(study)
    assert WholeRun.of(Study.open(tmp_path, read_only=True)) == WHOLE
    staged = replace(
        WHOLE,
        final_stages=(StageLength(3, is_frozen=True), StageLength(2, is_frozen=False, area_px=9)),
        has_other=True,
        counted=("retrain", "retrain-0003"),
    )
    with Study.open(tmp_path) as study:
        staged.keep(study)
    assert WholeRun.of(Study.open(tmp_path, read_only=True)) == staged
    newer = ("final_stages", "has_other", "counted")
    older = {key: value for key, value in asdict(WHOLE).items() if key not in newer}
    with Study.open(tmp_path) as study:
        study.set_value("whole_run", json.dumps(older))
    assert WholeRun.of(Study.open(tmp_path, read_only=True)) == WHOLE


def test_trainings_beside_the_final_one_are_planned_by_its_pace() -> None:
    records = [
        trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7])),
        trial(1, TrialState.COMPLETE, climb([0.4] * 3, [0.5] * 3, [0.6] * 3)),
    ]
    final = replace(WHOLE, stage=FINAL).after_final(1200.0, "retrain")
    assert (final.outside_s, final.counted, final.stage) == (1260.0, ("retrain",), FINAL)
    room = 3600.0 - 1260.0 - 600.0 - 108.0 - 180.0
    assert final.plan(records, searched_s=600.0).seconds(FINAL) == pytest.approx(room), "for other backbones"
    own, other = (WHOLE.estimated_s(record) for record in records)
    assert other == 3 * own

    def folds(number, pace, left=1.0, begun=0):
        return final.folds_beside(records, number, own=0, searched_s=600.0, pace=pace, left=left, begun=begun)

    assert folds(0, 1.0) == 5
    assert folds(0, room / (1.1 * own * 3.5)) == 3
    assert folds(1, room / (1.1 * own * 3.5)) == 0, "one fits, but cannot be averaged with others"
    assert folds(1, room / (1.1 * own * 3.5), left=0.5) == 2, "half of it is trained already"
    assert folds(1, room / (1.1 * own * 6.5), begun=2) == 2
    assert folds(1, room / (1.1 * own * 5.5), begun=2) == 0, "not those begun, and no others"
    asked = replace(final, folds=4)
    pace = room / (1.1 * own * 6.5)
    assert asked.folds_beside(records, 1, own=0, searched_s=600.0, pace=pace, left=1.0) == 0, "three would be needed"
    assert asked.folds_beside(records, 1, own=0, searched_s=600.0, pace=pace, left=1.0, begun=2) == 2
    stopped = trial(1, TrialState.PRUNED, climb([0.4], [0.5]))  # as fast as trial 0 in its last stage
    found = final.folds_beside(
        [records[0], stopped], 1, own=0, searched_s=600.0, pace=room / (1.1 * own * 3.5), left=1.0
    )
    assert found == 3


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return trained_study(tmp_path_factory.mktemp("whole"))


def rows_of(folder: StudyFolder) -> int:
    with folder.submission.open(encoding="utf-8", newline="") as rows:
        return sum(1 for _ in csv.reader(rows))


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_the_search_folds_and_a_submission_follow_within_the_hours(searched: StudyFolder) -> None:
    cwd = searched.root.parents[1]
    where = ("--set", f"results={cwd / 'results'}", "--set", f"data.root={cwd / 'data'}")
    done = run_cli("run", "tiny.yaml", *where, "--hours", "1", "--or-resume", cwd=cwd, within_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    plans = [number for number, line in enumerate(lines) if line.startswith("plan: ")]
    assert len(plans) == 2, "printed before it starts, and revised once the search is over"
    assert lines[plans[0] + 1].startswith("  search: ")
    assert lines[plans[1] + 1].startswith("  final training of 5 folds: "), "there is time for as many as are worth it"
    (refused,) = [line for line in lines if line.startswith("no ensemble: ")]
    assert "needs two on folds, and there is 1" in refused, "the search has one backbone"
    assert not searched.ensemble_model.exists()
    named = [line for line in lines if line.startswith(("next: ", "to extend it: "))]
    assert [line.split(",")[0] for line in named] == [f"next: hand in {searched.submission}"], "the rest follows anyway"
    assert rows_of(searched) == 1 + CLASSES * TEST_PER_CLASS
    whole = WholeRun.of(Study.open(searched.root, read_only=True))
    assert whole is not None
    assert whole.stage == DONE
    assert 0.0 < whole.outside_s < 3600.0
    assert lines[-1].startswith("ended: ")
    assert lines[-1].endswith(" of 60.0 min")
    status = run_cli("status", str(searched.root), cwd=cwd)
    lines = status.stdout.splitlines()
    assert next(line for line in lines if line.startswith("plan: ")).endswith(" of 60.0 min left")
    assert not any(line.startswith("  ensemble: ") for line in lines), "it is over"

    again = run_cli("run", "tiny.yaml", *where, "--hours", "1", "--or-resume", cwd=cwd, within_s=800)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == f"{searched.root} is finished; '--replace' starts over"
    later = WholeRun.of(Study.open(searched.root, read_only=True))
    assert later is not None
    assert later.outside_s > whole.outside_s, "time is never given back"


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_time_for_a_final_training_the_best_trial_is_submitted(tmp_path: Path) -> None:
    folder = trained_study(tmp_path)
    with Study.open(folder.root) as study:
        replace(WHOLE, hours=0.01, outside_s=0.0).keep(study)
    where = ("--set", f"results={tmp_path / 'results'}", "--set", f"data.root={tmp_path / 'data'}")
    done = run_cli("run", "tiny.yaml", *where, "--hours", "0.0001", "--or-resume", cwd=tmp_path, within_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no final training fits: the best trial is submitted" in done.stdout
    assert not folder.retrain.exists()
    assert folder.ensemble_model.exists()
    assert rows_of(folder) == 1 + CLASSES * TEST_PER_CLASS


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_time_left_over_trains_another_backbone_and_a_killed_one_is_resumed(tmp_path: Path) -> None:
    folder = trained_study(tmp_path, (1e-3, 1e-2, 1e-2), alphas=(0.25, 0.25, 0.5))
    where = ("--set", f"results={tmp_path / 'results'}", "--set", f"data.root={tmp_path / 'data'}")
    command = ("run", "tiny.yaml", *where, "--hours", "1", "--or-resume")
    run = start_cli(*command, cwd=tmp_path)
    wait_until(lambda: any(map(epochs_of, finals_beside(folder))), "another backbone trains", within_s=900)
    kill([run.pid, *descendants(run.pid)])
    run.wait()
    (beside,) = finals_beside(folder)
    own, other = trained_trial(folder), trial_beside(beside)
    assert {own, other} in ({0, 2}, {1, 2}), "of two backbones"
    before = epochs_of(beside)
    kept = WholeRun.of(Study.open(folder.root, read_only=True))
    assert (kept.stage, kept.counted, kept.has_other) == (FINAL, ("retrain",), True)

    done = run_cli(*command, cwd=tmp_path, within_s=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"final training of trial {other:04d}, of another backbone, on 5 folds" in done.stdout
    assert "2 final trainings, judged by all 36 photos of their folds" in done.stdout
    assert before.items() <= epochs_of(beside).items(), "no recorded epoch is trained again"
    whole = WholeRun.of(Study.open(folder.root, read_only=True))
    assert (whole.stage, whole.counted) == (DONE, ("retrain", beside.final))
    assert rows_of(folder) == 1 + CLASSES * TEST_PER_CLASS


def trained_trial(folder: StudyFolder) -> int | None:
    return read_scores(folder).trial


def epochs_of(folder: StudyFolder) -> dict[tuple[int, int], EpochReport]:
    """What a final training has recorded, by training and epoch."""
    own = folder.retrain_study
    if not own.log.exists():
        return {}
    records = Study.open(own.root, read_only=True).records()
    return {(record.number, report.epoch): report for record in records for report in record.reports}
