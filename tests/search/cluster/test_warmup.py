import pytest

from carcls.config import TrainConfig
from search.cluster.resources import Node
from search.cluster.warmup import distinct_weights, warm_up


def config(backbone: str, weights: str, **changes) -> TrainConfig:
    stage = {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-3}
    values = {"backbone": backbone, "weights": weights, "image_size": 32, "batch_size": 4, "stages": [stage]}
    return TrainConfig.model_validate(values | changes)


def test_each_backbone_width_and_weights_is_checked_once() -> None:
    first = config("MobileNet", "imagenet")
    others = [
        config("MobileNet", "imagenet", batch_size=8),
        config("MobileNet", "imagenet", alpha=0.5),
        config("MobileNetV2", "imagenet"),
        config("MobileNet", "/weights.h5"),
    ]
    assert distinct_weights([first, *others]) == (first, *others[1:])


def test_random_weights_need_no_file() -> None:
    assert distinct_weights([config("MobileNet", "none")]) == ()


def test_without_files_to_check_no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a task was made")

    monkeypatch.setattr("ray.remote", refuse)
    warm_up([Node("0", "here", 1.0, 0.0)], ())
