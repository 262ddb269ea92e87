"""Predicted memory of a training step against what XLA plans for the compiled one, on JAX.

    KERAS_BACKEND=jax .venv-jax/bin/python -m benchmarks.memory

For each case: the prediction (`carcls.models.memory_need`), arguments + outputs - aliased + temporaries of
`compiled.memory_analysis()`, and their ratio. Random weights; nothing is trained. The CPU's compiler plans its buffers
otherwise than a GPU's: it fuses less, and a GPU adds cuDNN's workspaces.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CASES = (
    "MobileNetV2:96:8:1.0",
    "MobileNetV2:160:16:1.0",
    "MobileNetV2:160:16:0.5",
    "EfficientNetB0:96:8:1.0",
    "EfficientNetB0:160:16:1.0",
    "ResNet50:96:8:1.0",
    "ResNet50:160:16:1.0",
    "ResNet50:160:16:0.5",
    "Xception:96:8:1.0",
    "Xception:160:16:1.0",
)
MARGIN = 0.25


@dataclass(frozen=True, slots=True)
class Case:
    """One training step."""

    backbone: str
    size_px: int
    batch: int
    unfreeze: float
    alpha: float = 1.0
    optimizer: str = "adam"
    precision: str = "float32"
    batch_norm: str = "frozen"

    @classmethod
    def of(cls, text: str, **more: Any) -> "Case":  # noqa: ANN401 - the other fields
        """`EfficientNetB0:96:8:1.0`."""
        backbone, size, batch, unfreeze = text.split(":")
        return cls(backbone, int(size), int(batch), float(unfreeze), **more)


@dataclass(frozen=True, slots=True)
class Compared:
    """Bytes of one case."""

    predicted: int
    analysed: int
    compile_s: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.analysed


def config_of(case: Case) -> Any:  # noqa: ANN401 - imported late
    from carcls.config import TrainConfig

    stage = {
        "name": "all",
        "unfreeze": case.unfreeze,
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_norm": case.batch_norm,
    }
    return TrainConfig.model_validate(
        {
            "backbone": case.backbone,
            "alpha": case.alpha,
            "weights": "none",
            "image_size": case.size_px,
            "batch_size": case.batch,
            "precision": case.precision,
            "optimizer": {"kind": case.optimizer},
            "stages": [stage],
        }
    )


def compare(case: Case) -> Compared:
    """Builds, predicts, lowers and compiles one case."""
    import jax
    import numpy as np

    from carcls.models.layer_shapes import layer_shapes
    from carcls.models.memory_need import Optimizer, memory_need
    from carcls.training.learner import Learner

    config = config_of(case)
    learner = Learner(config, class_counts=np.full(10, 8), weights=None)
    learner.enter_stage(0, steps_per_epoch=1)
    layers = layer_shapes(learner._classifier, folded=config.keeps_statistics(0))
    predicted = memory_need(layers, photos=case.batch, optimizer=Optimizer(config.optimizer.kind), device="cpu").total
    model = learner.stage.model
    state = model._get_jax_state(
        trainable_variables=True, non_trainable_variables=True, optimizer_variables=True, metrics_variables=True
    )
    x = jax.ShapeDtypeStruct((case.batch, case.size_px, case.size_px, 3), "uint8")
    y = jax.ShapeDtypeStruct((case.batch, 10), "float32")
    started = time.perf_counter()
    plan = jax.jit(model.train_step, donate_argnums=0).lower(state, (x, y)).compile().memory_analysis()
    seconds = time.perf_counter() - started
    analysed = (
        plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes + plan.temp_size_in_bytes
    )
    return Compared(predicted, analysed, seconds)


def rows(cases: Sequence[Case]) -> Iterator[tuple[Case, Compared]]:
    """Each case with its figures."""
    for case in cases:
        yield case, compare(case)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES, help="BACKBONE:SIZE:BATCH:UNFREEZE")
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch-norm", default="frozen")
    given = parser.parse_args()
    more = {"optimizer": given.optimizer, "precision": given.precision, "batch_norm": given.batch_norm}
    found = []
    print(f"{'case':32} {'predicted':>10} {'analysed':>10} {'ratio':>6} {'compile':>8}", flush=True)
    for case, one in rows([Case.of(text, **more) for text in given.cases]):
        found.append(one.ratio)
        name = f"{case.backbone} {case.size_px} px, {case.batch}, {case.unfreeze:g}"
        print(
            f"{name:32} {one.predicted / 1e6:7.1f} MB {one.analysed / 1e6:7.1f} MB {one.ratio:6.2f}"
            f" {one.compile_s:6.0f} s",
            flush=True,
        )
    inside = all(1 - MARGIN <= ratio <= 1 + MARGIN for ratio in found)
    print(json.dumps({"name": "memory", "least": min(found), "most": max(found), "target": MARGIN, "holds": inside}))


if __name__ == "__main__":
    main()
