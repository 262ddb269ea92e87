"""The four MobileNets whose weights lie beside the checkout, and trainings of them. Plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness import WEIGHTS
from carcls.config import TrainConfig


@dataclass(frozen=True, slots=True)
class MobileNet:
    """One backbone with its weights."""

    name: str
    backbone: str
    alpha: float
    file: str

    def config(
        self,
        *,
        image_size: int,
        epochs: Sequence[int],
        unfreeze: Sequence[float] = (0.0, 0.5, 0.75, 1.0),
        learning_rates: Sequence[float] = (2e-3, 2e-4, 2e-4, 2e-4),
        batch_size: int = 32,
        policy: str = "light",
        views: int = 4,
        seed: int = 0,
        dropout: float = 0.2,
        label_smoothing: float = 0.1,
    ) -> TrainConfig:
        """Staged fine-tuning: head, 50 %, 75 %, 100 % of the blocks, as many stages as `epochs` has numbers."""
        weights = WEIGHTS / self.file
        stages = [
            {
                "name": f"stage-{number}",
                "unfreeze": fraction,
                "epochs": count,
                "learning_rate": rate,
                "schedule": {"kind": "cosine", "warmup_epochs": 0.0 if fraction == 0 else 0.5},
            }
            for number, (count, fraction, rate) in enumerate(zip(epochs, unfreeze, learning_rates, strict=False))
        ]
        return TrainConfig.model_validate(
            {
                "backbone": self.backbone,
                "alpha": self.alpha,
                "weights": str(weights) if weights.is_file() else "none",
                "image_size": image_size,
                "batch_size": batch_size,
                "label_smoothing": label_smoothing,
                "seed": seed,
                "head": {"dropout": dropout},
                "augment": {"policy": policy, "views": views},
                "stages": stages,
            }
        )


MOBILENETS = (
    MobileNet("MobileNet-0.25", "MobileNet", 0.25, "mobilenet_2_5_224_tf_no_top.h5"),
    MobileNet("MobileNet-0.75", "MobileNet", 0.75, "mobilenet_7_5_224_tf_no_top.h5"),
    MobileNet(
        "MobileNetV2-0.35", "MobileNetV2", 0.35, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    ),
    MobileNet(
        "MobileNetV2-1.0", "MobileNetV2", 1.0, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    ),
)
