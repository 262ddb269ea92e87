import subprocess
import sys
from dataclasses import replace

import pytest

from search.errors import CurvesError
from search.experiment.experiment import load
from search.experiment.settings import RecordSettings
from search.experiment.template import space_of
from search.policy.records import TrialRecord, TrialState
from search.policy.scheduler import BudgetState, Continue, Finished, NewTrial, Wait
from search.simulator.curves import read_curves
from search.simulator.record import RecordingPolicy, curve_of, recording_policy
from tests.helpers.search.tiny import EXPERIMENT, write_tiny
from tests.helpers.search.trial_builders import epoch_report

SPACE = space_of({"backbone": "MobileNet", "dropout": {"uniform": [0, 1]}})
BASELINE = {"train.dropout": 0.25}
OPEN, USED_UP = BudgetState(trials_left=0, exhausted=False), BudgetState(trials_left=9, exhausted=True)


def policy(configurations: int = 4, repeated: int = 2, seeds: int = 3) -> RecordingPolicy:
    settings = RecordSettings(configurations=configurations, repeated=repeated, seeds=seeds)
    return RecordingPolicy(SPACE, BASELINE, settings, seed=0)


def trial(number: int, state: TrialState) -> TrialRecord:
    return TrialRecord(number, {}, state, 4, (), 1, False, None, is_baseline=number == 0)


def ended(count: int) -> list[TrialRecord]:
    return [trial(number, TrialState.COMPLETE) for number in range(count)]


def test_a_recording_proposes_baseline_points_and_repetitions() -> None:
    proposals = [policy().propose(ended(count)) for count in range(policy().total)]

    assert [proposal.repetition for proposal in proposals] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert [proposal.is_baseline for proposal in proposals] == [True, *[False] * 3, True, False, True, False]
    params = [proposal.params for proposal in proposals]
    assert params[0] == BASELINE
    assert params[4:] == [params[0], params[1]] * 2
    halves = sorted(point["train.dropout"] > 0.5 for point in params[1:3])
    assert halves == [False, True], "two points of a Sobol sequence lie in different halves"


def test_no_more_configurations_are_repeated_than_recorded() -> None:
    assert policy(configurations=2, repeated=5, seeds=3).total == 6
    assert policy(configurations=2, repeated=0, seeds=3).total == 2


def test_each_configuration_is_trained_on_every_fold() -> None:
    settings = RecordSettings(configurations=2, folds=3)
    asked = RecordingPolicy(SPACE, BASELINE, settings, seed=0)
    assert asked.total == 6
    proposals = [asked.propose(ended(count)) for count in range(6)]
    assert [proposal.fold for proposal in proposals] == [0, 1, 2, 0, 1, 2]
    assert [proposal.is_baseline for proposal in proposals] == [True] * 3 + [False] * 3
    assert proposals[3].params == proposals[5].params == policy().propose(ended(1)).params
    assert {proposal.repetition for proposal in proposals} == {0}


def test_a_block_starts_after_the_previous_one() -> None:
    whole = [policy(configurations=4).propose(ended(count)).params for count in range(4)]
    block = RecordingPolicy(SPACE, BASELINE, RecordSettings(configurations=2, repeated=0, first=2), seed=0)
    assert [block.propose(ended(count)).params for count in range(2)] == whole[2:]
    assert not block.propose([]).is_baseline


def test_every_trial_is_trained_to_its_end_and_interrupted_ones_first() -> None:
    waiting, running = trial(0, TrialState.WAITING), trial(1, TrialState.RUNNING)
    asked = policy()
    assert asked.first_stop((), 4) == 3
    assert asked.next_job([], OPEN) == NewTrial()
    assert asked.next_job([waiting, running], OPEN) == Continue(0, 3)
    assert asked.next_job(ended(7), OPEN) == NewTrial()
    assert asked.next_job([running, *ended(8)], OPEN) == Wait()
    assert asked.next_job(ended(8), OPEN) == Finished()
    assert asked.next_job([waiting], USED_UP) == Finished()


def test_a_recording_needs_photos_for_a_holdout(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "name: small\ndata: {root: photos}\n"
        "train: {backbone: MobileNet, image_size: 64, batch_size: 8, head: {dropout: {uniform: [0, 0.5]}}, stages: "
        "[{name: head, unfreeze: 0, epochs: 1, learning_rate: 1e-3}]}\n"
    )
    (tmp_path / "small.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CurvesError, match=r"small\.yaml: data\.holdout: curves need unseen photos; add"):
        recording_policy(load(tmp_path / "small.yaml"))
    held_out = "data.holdout={fraction: 0.2}"
    with pytest.raises(CurvesError, match=r"small\.yaml: search\.finalists: a recording repeats only what"):
        recording_policy(load(tmp_path / "small.yaml", [held_out, "search.finalists.count=2"]))
    assert recording_policy(load(tmp_path / "small.yaml", [held_out])).total == 260


def test_a_curve_has_every_epoch_with_its_holdout() -> None:
    report = replace(epoch_report(1, stage=0, accuracy=0.5, ended=True), holdout_accuracy=0.25, holdout_log_loss=2.0)
    record = replace(trial(1, TrialState.FAIL), params={"x": 1}, reports=(report,), infeasible=True)

    curve = curve_of(record, seed=7)

    assert (curve.params, curve.seed, curve.stage_count, curve.infeasible, curve.is_baseline) == (
        {"x": 1},
        7,
        4,
        True,
        False,
    )
    assert [(point.val_accuracy, point.holdout_accuracy) for point in curve.points] == [(0.5, 0.25)]


@pytest.mark.slow  # three trainings through Ray
@pytest.mark.release
def test_a_resumed_recording_writes_a_complete_table(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = EXPERIMENT.replace("seed: 0}}", "seed: 0}, holdout: {fraction: 0.25}}")
    file = write_tiny(tmp_path, f"{text}record: {{configurations: 2, repeated: 1, seeds: 2}}\n")
    command = [sys.executable, "-m", "search.cli"]

    subprocess.run([*command, "record", str(file), "--table", "curves.gz"], check=True)

    baseline, point, again = read_curves(tmp_path / "curves.gz")
    assert [curve.is_baseline for curve in (baseline, point, again)] == [True, False, True]
    assert [curve.seed for curve in (baseline, point, again)] == [0, 0, 1]
    assert again.params == baseline.params != point.params
    assert [[(p.stage, p.stage_ended) for p in curve.points] for curve in (baseline, point, again)] == [
        [(0, False), (0, True), (1, True)]
    ] * 3
    assert again.points != baseline.points
    written = (tmp_path / "curves.gz").read_bytes()
    subprocess.run([*command, "resume", "results/tiny"], check=True)
    subprocess.run([*command, "record", str(file), "--table", "curves.gz", "--write-only"], check=True)
    assert (tmp_path / "curves.gz").read_bytes() == written, "a resumed recording has nothing left to do"
    other = [*command, "record", str(file), "--table", "curves.gz", "--set", "search.seed=1"]
    refused = subprocess.run(other, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "holds the results of other settings" in refused.stderr
