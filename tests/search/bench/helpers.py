"""Measurements for tests."""

from typing import Any

from search.bench.results import Bench, Feeding, Measured, State, Training

MODEL = ("MobileNetV2", 1.0)


def training(images_per_s: float = 0.0, *, state: State = "measured", seconds: float = 10.0, **what: Any) -> Measured:
    """A measured training of MobileNetV2 at 224 px in batches of 32 on 2 threads, where `what` says nothing else."""
    values: dict[str, Any] = {
        "backbone": MODEL[0],
        "alpha": MODEL[1],
        "image_size": 224,
        "precision": "auto",
        "batch_size": 32,
        "threads": 2,
    }
    rates = {"forward_images_per_s": 4 * images_per_s, "compile_s": 5.0, "epoch_s": 0.25} if images_per_s else {}
    return Measured(Training(**{**values, **what}), state, images_per_s=images_per_s, seconds=seconds, **rates)


def feeding(views_per_s: float, *, processes: int = 2, decoded_per_s: float = 200.0) -> Measured:
    """Measured input at 224 px."""
    what = Feeding(224, "medium", processes)
    return Measured(what, "measured", images_per_s=views_per_s, decoded_per_s=decoded_per_s, seconds=5.0)


def bench(*found: Measured, gpus: int = 0, cores: int = 2) -> Bench:
    """A machine's measurements."""
    return Bench("a machine", gpus, cores, found)
