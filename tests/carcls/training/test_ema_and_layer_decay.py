"""Averaged weights and layer-wise rates in a whole training."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.inference.tta import predict_view
from carcls.models.classifier import build_classifier
from carcls.models.freezing import blocks, depths_below_head
from carcls.scoring import metrics
from carcls.training.checkpoint import load_state
from carcls.training.fine_tuning import fine_tune, load_best

CYCLE = {"kind": "one_cycle", "peak_at": 0.5}
STAGES = (
    {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.01, "schedule": CYCLE},
    {"name": "top", "unfreeze": 0.2, "epochs": 2, "learning_rate": 0.01, "batch_norm": "train", "schedule": CYCLE},
)
EMA = 0.8


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@pytest.fixture(scope="module")
def config(weights) -> TrainConfig:
    base = {"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "batch_size": 8, "augment": {"policy": "none"}}
    own = {"weights": str(weights), "ema": EMA, "layer_decay": 0.5, "stages": STAGES}
    return TrainConfig.model_validate(base | own)


@pytest.fixture(scope="module")
def trained(config, data, tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("ema"), []
    fine_tune(config, data, reports.append, folder=folder)
    return folder, reports


def _states(trained) -> list[dict[str, np.ndarray]]:
    folder, reports = trained
    return [load_state(folder / report.checkpoint)[0] for report in reports]


def test_a_stage_ends_with_its_averages(trained):
    logits = "model/head_logits/bias"
    within, ended = _states(trained)[1:]
    held = [array for key, array in ended.items() if key.startswith("optimizer/")]
    assert any(np.array_equal(array, ended[logits]) for array in held), "the weights are the averages"
    held = [array for key, array in within.items() if key.startswith("optimizer/")]
    assert not any(np.array_equal(array, within[logits]) for array in held), "training goes on from the raw weights"


def test_scores_and_kept_weights_are_those_of_the_averages(config, trained, data):
    folder, reports = trained
    kept = next(report for report in reversed(reports) if report.best_weights.endswith(f"{report.epoch:04d}.npz"))
    classifier, size_px = load_best(config, folder, kept, class_count=3)
    predicted = predict_view(classifier.model, data.pixels("validation", size_px), "plain", batch_size=6)
    assert metrics.log_loss(predicted, data.split.validation.labels) == pytest.approx(kept.val_log_loss, rel=1e-4)


@pytest.mark.fault
def test_a_killed_training_comes_to_the_same_numbers(config, trained, data, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, pickle, signal, sys\n"
        "from pathlib import Path\n"
        "from carcls.backend import devices\n"
        "devices.configure(threads=None, deterministic=True, gpu_memory_share=None)\n"
        "from carcls.training.fine_tuning import fine_tune\n"
        "config, data = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "kill = lambda report: report.epoch == 2 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "fine_tune(config, data, kill, folder=Path(sys.argv[2]))\n"
    )
    (tmp_path / "arguments").write_bytes(pickle.dumps((config, data)))
    command = [sys.executable, str(script), str(tmp_path / "arguments"), str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], env=os.environ | {"PYTHONPATH": "."}, check=False)
    assert done.returncode == -9
    reports = []
    fine_tune(config, data, reports.append, folder=tmp_path, attempt=1, resume="attempt-0/epoch-0002.npz")
    expected = trained[1][-1]
    assert [(one.train_loss, one.val_log_loss) for one in reports] == [(expected.train_loss, expected.val_log_loss)]
    whole, resumed = _states(trained)[-1], load_state(tmp_path / reports[-1].checkpoint)[0]
    assert whole.keys() == resumed.keys()
    for key, array in whole.items():
        np.testing.assert_array_equal(resumed[key], array, err_msg=key)


def test_a_vanishing_layer_decay_leaves_the_backbone_as_it_was(config, data, tmp_path):
    stage = STAGES[1] | {"epochs": 1, "unfreeze": 0.1, "batch_norm": "frozen"}
    changed = {"layer_decay": 1e-12, "ema": 0.0, "stages": (stage,), "optimizer": {"kind": "sgd"}}
    tiny = TrainConfig.model_validate(config.model_dump() | changed)
    reports = []
    fine_tune(tiny, data, reports.append, folder=tmp_path)
    state = load_state(tmp_path / reports[0].checkpoint)[0]
    classifier = build_classifier(tiny, size_px=32, class_count=3, weights=Path(tiny.weights))
    before = {f"model/{variable.path}": np.array(variable) for variable in classifier.model.variables}
    moved = {key: float(np.abs(state[key] - before[key]).max()) for key in before.keys() & state.keys()}
    kernels = {key: by for key, by in moved.items() if key.endswith("/kernel")}
    assert [key for key, by in kernels.items() if by > 1e-4] == ["model/head_logits/kernel"]
    assert len(kernels) == 3, "the head, and the depthwise and pointwise kernels of one block"


def test_depths_count_blocks_from_the_head_down(config):
    classifier = build_classifier(config, size_px=32, class_count=3, weights=None)
    depths, parts = depths_below_head(classifier), blocks("MobileNet", classifier.backbone)
    assert set(depths.values()) == set(range(1, len(parts) + 1))
    assert depths[id(classifier.backbone.get_layer("conv1").kernel)] == len(parts)
    assert depths[id(classifier.backbone.get_layer("conv_pw_13").kernel)] == 1
    assert id(classifier.model.get_layer("head_logits").kernel) not in depths
