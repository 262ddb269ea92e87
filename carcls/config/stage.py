"""One stage: its optimizer, its schedule, and when it ends early."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from carcls.config.common import Fraction, FrozenModel


class OptimizerConfig(FrozenModel):
    """The optimizer. Every stage starts with a fresh one."""

    kind: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    """`sgd` uses Nesterov momentum."""
    weight_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decoupled weight decay (Loshchilov & Hutter 2019) of kernels, scaled by the step's learning rate; biases,
    normalisation, tokens and positions are exempt. adam accepts only 0, since adam with decay is adamw."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """For sgd (Nesterov) and rmsprop; ignored by the others."""
    amsgrad: bool = False
    """Adam's second moment never falls (Reddi 2018, AMSGrad); for adam and adamw, ignored by the others."""
    clip_norm: Annotated[float, Field(gt=0.0)] | None = None
    """Global gradient norm above which gradients are scaled down; null disables clipping."""

    @model_validator(mode="after")
    def _adam_has_no_decay(self) -> "OptimizerConfig":
        if self.kind == "adam" and self.weight_decay:
            raise ValueError(
                "weight_decay: adam has none; set kind: adamw, or weight_decay: 0 (to search over both, choose among"
                " named mappings)"
            )
        return self


class ScheduleConfig(FrozenModel):
    """Learning rate within one stage, as a factor of the stage's `learning_rate`."""

    kind: Literal["constant", "cosine", "exponential", "one_cycle", "plateau"] = "cosine"
    """`exponential` multiplies the rate by the same factor in every step. `one_cycle` (Smith & Topin 2018) rises from
    `start` to the peak at `peak_at` and falls to `floor`, both as half a cosine. `plateau` lowers the rate when
    validation log-loss stops improving."""
    warmup_epochs: Annotated[float, Field(ge=0.0)] = 0.0
    """Length of the linear warm-up in epochs, fractions allowed; for constant, cosine and exponential."""
    floor: Fraction = 0.0
    """Cosine, exponential and one_cycle: the factor at the stage's end, above 0 for exponential. Plateau: the smallest
    factor."""
    start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.04
    """One cycle: the factor at the first step."""
    peak_at: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """One cycle: share of the stage after which the rate peaks."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Plateau: multiplies the rate when validation log-loss stops improving."""
    patience_epochs: Annotated[int, Field(ge=1)] = 2
    """Plateau: epochs without improvement before the rate drops."""
    drops: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Plateau: epochs of the stage after which the rate drops, whatever the validation log-loss is. null: by log-loss.
    A training on all photos gets the median ones of the folds."""

    @model_validator(mode="after")
    def _has_a_curve(self) -> "ScheduleConfig":
        if self.kind in ("plateau", "one_cycle") and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs: a {self.kind} schedule has no warm-up; expected 0, or kind constant, cosine or"
                " exponential"
            )
        if self.kind == "exponential" and not self.floor:
            raise ValueError("floor: an exponential schedule never reaches 0; expected a factor above 0, such as 0.01")
        if self.drops is not None and self.kind != "plateau":
            raise ValueError(f"drops: only for kind plateau, found kind {self.kind}")
        return self


class EarlyStoppingConfig(FrozenModel):
    """Ends the stage, never the trial, when validation log-loss stops improving."""

    patience_epochs: Annotated[int, Field(ge=1)]
    """Epochs without improvement before the stage ends."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change of log-loss that counts as an improvement."""


class StageConfig(FrozenModel):
    """One stretch of training with a fixed set of trainable blocks, a fresh optimizer and one image size."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9_-]+$")]
    """Unique within the training; overrides and parameters use it."""
    unfreeze: Fraction
    """Share of the backbone's blocks that train, counted from the top; 0 trains only the head."""
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Epochs of the stage, unless it stops early."""
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    """The optimizer's peak rate."""
    schedule: ScheduleConfig = ScheduleConfig()
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Photos per optimizer step of this stage; null takes the training's `batch_size`."""
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    """The backbone's BatchNorm. `frozen` keeps statistics, scale and shift; `train` trains those in the stage's
    unfrozen blocks, which suits a late stage with a low rate; `auto` freezes them with pretrained weights and trains
    them with random ones."""
    batch_norm_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Share of the running statistics that each step keeps where the backbone's BatchNorm trains; ignored where it is
    frozen. null: the backbone's own, such as 0.999 for MobileNetV2, which needs thousands of steps to follow the
    weights. A few hundred photos need about 0.9."""
    image_scale: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    """Multiplies the configuration's image size."""
    early_stopping: EarlyStoppingConfig | None = None
    """Null: the stage runs all its epochs. Early stopping ends the stage, never the trial."""
