"""fine_tune on 24 small photos. Most tests compare with one uninterrupted run."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.errors import CheckpointError, DataError, DivergedError, WeightsError
from carcls.events import EpochReport, PhaseSeconds, StoreUse, best_report
from carcls.input.batches import training_batches
from carcls.input.training_data import TrainingData
from carcls.models.backbones import build_backbone
from carcls.models.classifier import build_classifier
from carcls.scoring import metrics
from carcls.scoring.choices import Kept, kept_epoch, scaled
from carcls.training.checkpoint import load_state, model_variables, save_state, variable_arrays
from carcls.training.fine_tuning import fine_tune, load_best
from carcls.training.learner import Learner


def config(*stages: dict, **changes) -> TrainConfig:
    """The smallest classifier, with stages as in the experiment file."""
    base = {"backbone": "MobileNet", "alpha": 0.25, "weights": "none", "image_size": 32, "batch_size": 8}
    return TrainConfig.model_validate(base | {"stages": stages} | changes)


STAGES = (
    {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 0.01},
    {"name": "top", "unfreeze": 0.2, "epochs": 2, "learning_rate": 0.003, "image_scale": 1.5},
    {"name": "ruin", "unfreeze": 0.0, "epochs": 1, "learning_rate": 10.0, "schedule": {"kind": "constant"}},
)
STEPS = 3  # 18 photos in batches of 8
GOLDEN_TRAIN_LOSS = [1.49114, 1.04310, 1.45465, 1.17966]
GOLDEN_VAL_LOG_LOSS = [1.97714, 2.17999, 2.67996, 2.39708]


@dataclass
class Run:
    folder: Path
    reports: list[EpochReport]

    def state(self, number: int) -> tuple[dict, dict]:
        return load_state(self.folder / self.reports[number].checkpoint)


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@pytest.fixture(scope="module")
def recipe(weights) -> TrainConfig:
    return config(*STAGES, weights=str(weights), augment={"policy": "none"})


@pytest.fixture(scope="module")
def whole(recipe, data, tmp_path_factory) -> Run:
    run = Run(tmp_path_factory.mktemp("whole"), [])
    fine_tune(recipe, data, run.reports.append, folder=run.folder)
    return run


def numbers(report: EpochReport) -> EpochReport:
    """A report without values that depend on time, the attempt, or the state of the store."""
    bare = replace(report, images_per_s=0, seconds=PhaseSeconds(0, 0), store=StoreUse())
    return replace(bare, checkpoint="", best_weights="")


def assert_same_state(one: tuple[dict, dict], other: tuple[dict, dict]):
    assert one[0].keys() == other[0].keys()
    for key, array in one[0].items():
        np.testing.assert_array_equal(array, other[0][key], err_msg=key)
    assert one[1]["position"]["log_losses"] == other[1]["position"]["log_losses"]


class KilledError(Exception):
    """Raised by on_epoch to end a training, as for a stopped trial."""


def killer(reports: list[EpochReport], epoch: int):
    def on_epoch(report: EpochReport):
        reports.append(report)
        if report.epoch == epoch:
            raise KilledError

    return on_epoch


def test_every_epoch_is_told_with_its_place_and_size(whole):
    told = [(r.epoch, r.stage, r.stage_name, r.stage_epoch, r.stage_ended, r.image_size) for r in whole.reports]
    assert told == [
        (1, 0, "head", 1, False, 32),
        (2, 0, "head", 2, True, 32),
        (3, 1, "top", 1, False, 48),
        (4, 1, "top", 2, True, 48),
        (5, 2, "ruin", 1, True, 32),
    ]
    assert [round(r.learning_rate, 8) for r in whole.reports] == [0.0075, 0.00066987, 0.00225, 0.00020096, 10.0]
    built = [r.seconds.build > 0 for r in whole.reports]
    assert built == [True, False, True, False, True]
    for report in whole.reports:
        assert report.images_per_s == pytest.approx(18 / report.seconds.train)
        assert EpochReport.from_json(report.to_json()) == report


def test_more_blocks_train_from_the_head_down(whole):
    head = 2 * 256 + 256 * 3 + 3  # BatchNorm's scale and shift, logits
    trainable = [r.trainable_parameters for r in whole.reports]
    assert trainable[0] == trainable[1] == trainable[4] == head
    assert trainable[2] == trainable[3] > head


def test_the_frozen_backbone_stays_and_the_head_learns(recipe, whole, weights):
    fresh = build_classifier(recipe, size_px=32, class_count=3, weights=weights)
    start, head, top = (variable_arrays(model_variables(fresh.model)), whole.state(1)[0], whole.state(3)[0])
    of_backbone = {key for key in start if not key.startswith(("model/head_", "seed/"))}
    assert of_backbone.isdisjoint(head), "unchanged variables are not written"
    for key in head.keys() & start.keys():
        assert key.startswith("seed/") or not np.array_equal(head[key], start[key]), key
    left_out = whole.state(3)[1]["left_out"].keys()
    assert left_out == of_backbone - top.keys(), "frozen variables of a partly unfrozen stage are not written either"
    assert {"model/conv1/kernel", "model/conv_pw_13_bn/gamma"} <= left_out  # at the bottom; frozen statistics
    assert {key for key in of_backbone & top.keys() if np.array_equal(start[key], top[key])} == set()
    assert "model/conv_pw_13/kernel" in top  # at its top
    assert whole.state(4)[1]["left_out"].keys() == left_out, "variables that were ever trained are always written"


def test_training_reproduces_its_recorded_curve(whole):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("recorded on TensorFlow; other backends draw other random numbers")
    # Rounding depends on processor and libraries: without oneDNN these numbers change by 0.00005.
    np.testing.assert_allclose([r.train_loss for r in whole.reports[:4]], GOLDEN_TRAIN_LOSS, rtol=0.01)
    np.testing.assert_allclose([r.val_log_loss for r in whole.reports[:4]], GOLDEN_VAL_LOG_LOSS, rtol=0.01)


def test_a_worse_stage_keeps_the_best_weights(recipe, whole, data):
    best = best_report(whole.reports)
    assert whole.reports[4].rank < best.rank, "the last stage was meant to ruin the model"
    assert best.epoch == 4, "the end of the stage before"
    assert whole.reports[4].best_weights == f"attempt-0/best-{best.epoch:04d}.npz"

    not_best = replace(whole.reports[4], best_weights=whole.reports[4].checkpoint)
    with pytest.raises(CheckpointError, match="does not have an image size"):
        load_best(recipe, whole.folder, not_best, class_count=3)
    classifier, size_px = load_best(recipe, whole.folder, whole.reports[4], class_count=3)
    assert size_px == best.image_size
    probabilities = classifier.model.predict_on_batch(data.pixels("validation", size_px))
    log_loss = metrics.log_loss(np.asarray(probabilities), data.split.validation.labels)
    # Equal up to rounding, since training folds frozen BatchNorm into kernels (models.folding).
    assert log_loss == pytest.approx(best.val_log_loss, rel=2e-4)


def test_kept_weights_follow_from_the_evidence(whole, data):
    labels = data.split.validation.labels
    epochs = [scaled(report.evidence.validation.astype(np.float64), labels) for report in whole.reports]
    for report, epoch in zip(whole.reports, epochs, strict=True):
        assert report.val_scaled_log_loss == pytest.approx(epoch.log_loss, abs=2e-3)  # evidence is float16
        so_far = [Kept(r.stage_ended, e.losses) for r, e in zip(whole.reports, epochs, strict=True)][: report.epoch]
        assert report.kept_epoch == kept_epoch(so_far)


def test_asking_for_averages_changes_no_number_and_scores_each(recipe, whole, data, tmp_path):
    reports = []
    fine_tune(recipe, data, reports.append, folder=tmp_path, averages=True)
    assert [numbers(report) for report in reports] == [numbers(report) for report in whole.reports]
    assert [sorted(report.evidence.averages) for report in reports[:-1]] == [[]] * 4
    averages = reports[-1].evidence.averages
    assert sorted(averages) == ["ema-0.96", "ema-0.99", "last-3", "last-5"]
    # In a stage of one epoch, the average over epochs is that epoch.
    np.testing.assert_array_equal(averages["last-3"].validation, reports[-1].evidence.validation)
    assert not np.array_equal(averages["ema-0.99"].validation, reports[-1].evidence.validation)


def test_only_the_attempts_own_files_are_written(whole):
    files = {str(path.relative_to(whole.folder)) for path in whole.folder.rglob("*") if path.is_file()}
    assert files == {r.checkpoint for r in whole.reports} | {r.best_weights for r in whole.reports}
    assert {r.checkpoint for r in whole.reports} == {f"attempt-0/epoch-{n:04d}.npz" for n in (1, 2, 3, 4, 5)}


def test_each_stage_has_a_new_optimizer_that_persists_within_it(whole):
    iterations = [int(whole.state(n)[0]["optimizer/0000"]) for n in range(5)]
    assert iterations == [STEPS, 2 * STEPS, STEPS, 2 * STEPS, STEPS]
    assert whole.state(0)[0]["seed/0000"][1] < whole.state(4)[0]["seed/0000"][1]


def test_interruptions_within_and_between_stages_do_not_change_results(recipe, whole, data, tmp_path):
    run = Run(tmp_path, [])

    def go_on(attempt: int, stop_after_stage: int):
        last = run.reports[-1].checkpoint
        fine_tune(
            recipe,
            data,
            run.reports.append,
            folder=tmp_path,
            attempt=attempt,
            resume=last,
            stop_after_stage=stop_after_stage,
        )

    with pytest.raises(KilledError):
        fine_tune(recipe, data, killer(run.reports, epoch=1), folder=tmp_path)
    go_on(attempt=1, stop_after_stage=0)
    assert [r.epoch for r in run.reports] == [1, 2]
    go_on(attempt=2, stop_after_stage=0)
    assert len(run.reports) == 2, "that stage had ended already"
    go_on(attempt=2, stop_after_stage=1)

    assert [numbers(r) for r in run.reports] == [numbers(r) for r in whole.reports[:4]]
    assert [r.checkpoint.split("/")[0] for r in run.reports] == ["attempt-0", "attempt-1", "attempt-2", "attempt-2"]
    for number in range(4):
        assert_same_state(run.state(number), whole.state(number))


@pytest.mark.fault
def test_a_process_killed_between_epochs_is_resumed_by_another(recipe, whole, data, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, pickle, sys\n"
        "from pathlib import Path\n"
        "from carcls.backend import devices\n"
        "devices.configure(threads=None, deterministic=True, gpu_memory_share=None)\n"
        "from carcls.training.fine_tuning import fine_tune\n"
        "config, data = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "fine_tune(config, data, lambda r: r.epoch == 3 and os._exit(9), folder=Path(sys.argv[2]))\n"
    )
    (tmp_path / "arguments").write_bytes(pickle.dumps((recipe, data)))
    command = [sys.executable, str(script), str(tmp_path / "arguments"), str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], env=os.environ | {"PYTHONPATH": "."}, check=False)
    assert done.returncode == 9
    run = Run(tmp_path, [])
    fine_tune(recipe, data, run.reports.append, folder=tmp_path, attempt=1, resume="attempt-0/epoch-0003.npz")
    assert [numbers(r) for r in run.reports] == [numbers(r) for r in whole.reports[3:]]
    assert_same_state(run.state(-1), whole.state(-1))


def test_early_stopping_ends_the_stage_and_plateau_lowers_the_rate(data, tmp_path):
    stubborn = config(
        {
            "name": "head",
            "unfreeze": 0.0,
            "epochs": 9,
            "learning_rate": 1e-6,  # so low that no epoch improves by min_delta
            "schedule": {"kind": "plateau", "patience_epochs": 1, "factor": 0.1, "floor": 0.05},
            "early_stopping": {"patience_epochs": 3, "min_delta": 0.1},
        },
    )
    run = Run(tmp_path, [])
    fine_tune(stubborn, data, run.reports.append, folder=tmp_path)
    assert [r.stage_ended for r in run.reports] == [False, False, False, True]
    assert run.reports[-1].notes == ("stopped after 4 of 9 epochs: no better validation log-loss for 3 epochs",)
    losses = [r.val_log_loss for r in run.reports]
    stood_still = [False] + [loss >= min(losses[:n]) for n, loss in enumerate(losses) if n]
    rates = [r.learning_rate for r in run.reports]
    for number in range(1, 4):
        lowered = max(0.05e-6, rates[number - 1] * 0.1) if stood_still[number - 1] else rates[number - 1]
        assert rates[number] == pytest.approx(lowered)
    in_optimizer = [float(run.state(n)[0]["optimizer/0001"]) for n in range(4)]
    np.testing.assert_allclose(in_optimizer, rates, rtol=1e-6)


def test_a_loss_that_is_not_finite_names_stage_epoch_and_value(recipe, whole, data, tmp_path):
    arrays, meta = whole.state(0)
    poisoned = arrays | {"model/head_logits/kernel": np.full_like(arrays["model/head_logits/kernel"], np.nan)}
    save_state(tmp_path / "attempt-0" / "epoch-0001.npz", poisoned, meta)
    with pytest.raises(DivergedError, match="stage 'head', epoch 2: training loss is nan"):
        fine_tune(recipe, data, print, folder=tmp_path, attempt=1, resume="attempt-0/epoch-0001.npz")
    assert not (tmp_path / "attempt-1").exists()


def test_an_invalid_resume_is_refused_before_any_training(recipe, whole, data, tmp_path):
    def resume(name: str, changed=recipe):
        fine_tune(changed, data, print, folder=whole.folder, attempt=7, resume=name)

    with pytest.raises(CheckpointError, match="no such checkpoint"):
        resume("attempt-0/epoch-0099.npz")
    with pytest.raises(CheckpointError, match="is not a checkpoint of a trial"):
        resume("../elsewhere.npz")
    with pytest.raises(CheckpointError, match="another configuration: batch_size, seed changed"):
        resume("attempt-0/epoch-0001.npz", recipe.model_copy(update={"batch_size": 4, "seed": 1}))
    save_state(whole.folder / "attempt-8" / "epoch-0001.npz", {}, {"config": recipe.model_dump(mode="json")})
    with pytest.raises(CheckpointError, match="not the position of a training"):
        resume("attempt-8/epoch-0001.npz")
    (whole.folder / "attempt-8" / "epoch-0001.npz").unlink()
    assert not (whole.folder / "attempt-7").exists()


def test_missing_weights_and_empty_parts_come_before_any_training(recipe, data, tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        fine_tune(recipe.model_copy(update={"weights": "missing.h5"}), data, print, folder=tmp_path)
    unvalidated = replace(data, split=replace(data.split, validation=data.split.validation.select([])))
    with pytest.raises(DataError, match="this split has 18 and 0"):
        fine_tune(recipe, unvalidated, print, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_head_is_resumed_and_loaded_only_on_its_own_backbone(recipe, whole, data, weights, tmp_path):
    own = tmp_path / weights.name
    own.write_bytes(weights.read_bytes())
    first = recipe.model_copy(update={"weights": str(own), "stages": recipe.stages[:1]})
    run = Run(tmp_path, [])
    fine_tune(first, data, run.reports.append, folder=tmp_path)
    assert [numbers(r) for r in run.reports] == [numbers(r) for r in whole.reports[:2]]
    classifier, size_px = load_best(first, tmp_path, run.reports[-1], class_count=3)
    probabilities = np.asarray(classifier.model.predict_on_batch(data.pixels("validation", size_px)))
    log_loss = metrics.log_loss(probabilities, data.split.validation.labels)
    assert log_loss == pytest.approx(max(run.reports, key=lambda r: r.rank).val_log_loss, rel=5e-3)  # float16 features

    build_backbone("MobileNet", 0.25, 32).save_weights(own)
    with pytest.raises(CheckpointError, match=r"made with other weights than .*mobilenet\.weights\.h5 has now"):
        load_best(first, tmp_path, run.reports[-1], class_count=3)
    with pytest.raises(CheckpointError, match=r"epoch-0001\.npz was made with other weights"):
        fine_tune(first, data, print, folder=tmp_path, attempt=1, resume=run.reports[0].checkpoint)


@pytest.mark.real
def test_statistics_that_were_trained_before_stay_bit_equal(shared, data: TrainingData):
    weights = shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
    stage = {"name": "full", "unfreeze": 1.0, "epochs": 1, "learning_rate": 0.01}
    pretrained = config(stage, weights=str(weights))
    learner = Learner(pretrained, class_counts=np.bincount(data.split.train.labels), weights=weights)
    batches = training_batches(data, pretrained, epoch=0, size_px=32)
    learner.enter_stage(0, steps_per_epoch=len(batches))
    before = learner.model_arrays()
    learner.stage.train_epoch(batches, [])
    batches.close()
    after = learner.model_arrays()
    norm = {key for key in before if key.startswith("model/conv") and "_bn/" in key}
    assert len(norm) == 27 * 4  # 27 BatchNorms: scale, shift, mean, variance
    for key in norm:
        np.testing.assert_array_equal(after[key], before[key], err_msg=key)
    assert not np.array_equal(after["model/conv1/kernel"], before["model/conv1/kernel"])
