"""Learning curves of every optimizer under every schedule, recorded in golden_curves.json.

Users rely on them when they compare trials of different days, or resume a study with a newer carsearch. A change of a
curve changes the meaning of a configuration: record it in the changelog, together with new curves from

    CARSEARCH_REWRITE_GOLDEN=1 python -m pytest tests/carcls/training/test_golden_curves.py

One training per optimizer runs through all schedules, so that each pair is compiled only once.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.events import EpochReport, PhaseSeconds, StoreUse
from carcls.models.classifier import build_classifier
from carcls.training.checkpoint import load_state, model_variables, variable_arrays
from carcls.training.fine_tuning import fine_tune

GOLDEN = Path(__file__).with_name("golden_curves.json")
REWRITE = os.environ.get("CARSEARCH_REWRITE_GOLDEN") == "1"

OPTIMIZERS = {
    "adam": ({"kind": "adam"}, 0.01),
    "adamw": ({"kind": "adamw", "weight_decay": 0.5, "clip_norm": 1.0}, 0.01),
    "sgd": ({"kind": "sgd", "weight_decay": 0.1, "clip_norm": 1.0}, 0.05),
    "rmsprop": ({"kind": "rmsprop", "momentum": 0.5, "clip_norm": 0.5}, 0.002),
}
CONSTANT = {"kind": "constant"}
COSINE = {"kind": "cosine", "warmup_epochs": 0.7, "floor": 0.1}
PLATEAU = {"kind": "plateau", "patience_epochs": 1, "factor": 0.5}


@dataclass(frozen=True)
class Run:
    recipe: TrainConfig
    folder: Path
    reports: list[EpochReport]

    def state(self, number: int) -> tuple[dict, dict]:
        return load_state(self.folder / self.reports[number].checkpoint)


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@pytest.fixture(scope="module", params=OPTIMIZERS)
def run(request, data, weights, tmp_path_factory) -> Run:
    settings, rate = OPTIMIZERS[request.param]
    stages = (
        {"name": "plateau", "unfreeze": 0.0, "epochs": 3, "learning_rate": rate, "schedule": PLATEAU},
        {"name": "constant", "unfreeze": 0.0, "epochs": 2, "learning_rate": rate / 2, "schedule": CONSTANT},
        {"name": "cosine", "unfreeze": 0.2, "epochs": 2, "learning_rate": rate / 4, "schedule": COSINE},
    )
    values = {"backbone": "MobileNet", "alpha": 0.25, "weights": str(weights), "image_size": 32, "batch_size": 8}
    recipe = TrainConfig.model_validate(
        values | {"optimizer": settings, "augment": {"policy": "none"}, "stages": stages}
    )
    run = Run(recipe, tmp_path_factory.mktemp(request.param), [])
    fine_tune(recipe, data, run.reports.append, folder=run.folder)
    return run


def curve(run: Run) -> dict[str, list[float]]:
    """The recorded values, rounded far below the tolerance."""
    names = ("learning_rate", "train_loss", "val_log_loss")
    return {name: [float(f"{getattr(report, name):.6g}") for report in run.reports] for name in names}


def test_training_reproduces_the_recorded_curve(run):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("recorded on TensorFlow; other backends draw other random numbers")
    kind, golden = run.recipe.optimizer.kind, json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if REWRITE:
        GOLDEN.write_text(json.dumps(golden | {kind: curve(run)}, indent=1, sort_keys=True) + "\n")
        return
    now = curve(run)
    np.testing.assert_allclose(now["learning_rate"], golden[kind]["learning_rate"], rtol=1e-5)
    # Rounding depends on processor and libraries: without oneDNN these numbers change by 0.03 %.
    np.testing.assert_allclose(now["train_loss"], golden[kind]["train_loss"], rtol=0.01)
    np.testing.assert_allclose(now["val_log_loss"], golden[kind]["val_log_loss"], rtol=0.01)


def test_no_optimizer_touches_what_is_frozen(run, weights):
    fresh = build_classifier(run.recipe, size_px=32, class_count=3, weights=weights)
    start, head, top = variable_arrays(model_variables(fresh.model)), run.state(4)[0], run.state(6)[0]
    backbone = {key for key in start if not key.startswith(("model/head_", "seed/"))}
    assert backbone.isdisjoint(head), "unchanged variables are not written"
    changed = {key for key in backbone & top.keys() if not np.array_equal(start[key], top[key])}
    top_blocks = {f"model/conv_{layer}_{block}/kernel" for layer in ("dw", "pw") for block in (11, 12, 13)}
    assert changed == top_blocks


def numbers(report: EpochReport) -> EpochReport:
    """A report without values that depend on time, the attempt, or the state of the store."""
    bare = replace(report, images_per_s=0, seconds=PhaseSeconds(0, 0), store=StoreUse())
    return replace(bare, checkpoint="", best_weights="")


@pytest.mark.parametrize(
    "finished", [pytest.param(1, id="plateau"), pytest.param(6, marks=pytest.mark.slow, id="cosine")]
)
def test_resuming_within_a_stage_does_not_change_results(run, data, finished):
    """Trains to the end of a stage. Epoch 1 is the first of the plateau, epoch 6 the first of the cosine."""
    again, stage = Run(run.recipe, run.folder, []), run.reports[finished].stage
    fine_tune(
        run.recipe,
        data,
        again.reports.append,
        folder=run.folder,
        attempt=finished,
        resume=run.reports[finished - 1].checkpoint,
        stop_after_stage=stage,
    )
    whole = [(number, report) for number, report in enumerate(run.reports) if report.stage == stage][1:]
    assert [numbers(report) for report in again.reports] == [numbers(report) for _, report in whole]
    for place, (number, _) in enumerate(whole):
        (resumed, _), (expected, _) = again.state(place), run.state(number)
        assert resumed.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(resumed[key], array, err_msg=key)
