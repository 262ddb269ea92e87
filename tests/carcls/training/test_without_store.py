"""A store that is off or full does not change a training's numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.input.training_data import TrainingData
from carcls.store import Store
from carcls.training.fine_tuning import fine_tune


def trained(data: TrainingData, weights: Path, folder: Path) -> list[tuple[float, ...]]:
    """Losses and scores of two stages, the first with the backbone frozen."""
    config = TrainConfig.model_validate(
        {
            "backbone": "MobileNet",
            "alpha": 0.25,
            "weights": str(weights),
            "image_size": 32,
            "batch_size": 6,
            "augment": {"policy": "light", "views": 2},
            "stages": [
                {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 1e-2},
                {"name": "full", "unfreeze": 1.0, "epochs": 1, "learning_rate": 1e-3},
            ],
        }
    )
    reports: list[EpochReport] = []
    fine_tune(config, data, reports.append, folder=folder)
    return [(r.train_loss, r.train_accuracy, r.val_log_loss, r.val_accuracy, r.val_macro_f1) for r in reports]


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@pytest.fixture(scope="module")
def with_store(data, weights, tmp_path_factory) -> list[tuple[float, ...]]:
    return trained(data, weights, tmp_path_factory.mktemp("with"))


@pytest.fixture
def train_with(data, weights, tmp_path):
    """train_with(enabled=False) runs the same training with such a store."""

    def train(**options) -> list[tuple[float, ...]]:
        return trained(replace(data, store=Store(tmp_path / "store", **options)), weights, tmp_path)

    return train


@pytest.mark.parametrize(("options", "said"), [({"enabled": False}, 0), ({"quota_bytes": 1000}, 1)])
def test_training_without_the_store_gives_equal_numbers(train_with, with_store, caplog, options, said):
    assert train_with(**options) == with_store
    assert sum("continuing without it" in message for message in caplog.messages) == said
