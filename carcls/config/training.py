"""The complete configuration of one trial."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from carcls.catalog import KNOWN_BACKBONES, PRESETS, BackboneInfo, nearest_sides
from carcls.config.augment import AugmentConfig
from carcls.config.common import FrozenModel, known_name
from carcls.config.head import HeadConfig
from carcls.config.stage import OptimizerConfig, StageConfig
from carcls.frames import MAX_SIDE_PX, MIN_SIDE_PX, Fit, Frame, Size, frame_of, named_size, size_name

Precision = Literal["auto", "float32", "bfloat16", "float16"]
RankBy = Literal["accuracy", "log_loss"]
"""How weights and trainings are ranked: by validation accuracy, or by log-loss after temperature scaling."""


class TrainConfig(FrozenModel):
    """The complete configuration of one trial, concrete values only."""

    backbone: str
    """A name that `carsearch backbones` prints."""
    alpha: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    """Width multiplier of backbones that have one."""
    weights: Annotated[str, Field(min_length=1)] = "imagenet"
    """`imagenet`, `none`, `sample`, or the path of a .h5, .weights.h5 or .npz file without the top. For a backbone of
    KerasHub also a preset, such as `dinov2_small`, that kagglehub's folder has; `imagenet` is its first one."""
    image_size: int | tuple[int, int]
    """Side of the square input in px, from 32 to 2048, or `[height, width]`, such as `[384, 512]`; a stage may scale
    it. `384x512` is the same as text."""
    fit: Fit = "stretch"
    """How a photo of another shape fills the input. `stretch` scales both sides alone; `pad` keeps the shape and adds
    bars of a neutral colour; `crop` keeps the shape and cuts off what is outside the middle."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    """Photos per optimizer step. Batches of an epoch differ by one photo at most. At 2, an odd number of photos leaves
    one alone, from which BatchNorm that trains learns a variance of 0; 3 or more never do."""
    optimizer: OptimizerConfig = OptimizerConfig()
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Layer-wise rates (Howard & Ruder 2018; as in ELECTRA and BEiT): the head trains with the stage's rate, the top
    block of the backbone with `layer_decay` times that, the block below with its square, and so on; 1 turns it off.
    Weight decay, which is scaled by the rate, falls too."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Momentum of an exponential moving average of the trained weights over steps, such as 0.99 (Keras's `use_ema`); 0
    turns it off. The averages are what is validated, kept and exported, and what the next stage starts from."""
    class_balance: Literal["none", "weights", "sampling"] = "none"
    """For imbalanced classes. `weights`: rare classes weigh more in the loss; `sampling`: each class is drawn equally
    often, repeating photos of rare classes, without changing the length of an epoch."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal` (Lin 2017) multiplies the loss of each label by (1 - p) to the power of `focal_gamma`, p being its
    probability, so that easy photos count less. Validation always scores by cross-entropy."""
    focal_gamma: Annotated[float, Field(gt=0.0, le=10.0)] = 2.0
    """For focal loss: the larger, the less easy photos count; ignored by cross_entropy."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each label spread evenly over all classes."""
    precision: Precision = "auto"
    """`auto` picks mixed precision on GPUs that support it, else float32."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seeds initialisation, order and dropout. Views use the study's own seed."""
    head: HeadConfig = HeadConfig()
    augment: AugmentConfig = AugmentConfig()
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]

    @field_validator("image_size", mode="before")
    @classmethod
    def _sides(cls, value: Any) -> int | tuple[int, int]:  # noqa: ANN401 - anything that a file may hold
        size = named_size(value, "stretch")
        if isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int for side in value):
            size = Frame(*value).size
        frame = None if size is None else frame_of(size)
        if frame is None or not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in (frame.height, frame.width)):
            raise PydanticCustomError(
                "image_size",
                "Input should be {expected}",
                {"expected": f"a whole number of px from {MIN_SIDE_PX} to {MAX_SIDE_PX}, or [height, width] of such"},
            )
        return frame.height if frame.height == frame.width else (frame.height, frame.width)

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, backbone: str) -> str:
        return known_name(backbone, tuple(KNOWN_BACKBONES), "backbone")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        info = KNOWN_BACKBONES[self.backbone]
        if self.alpha != 1.0 and not info.has_alpha:
            raise ValueError(f"alpha: {self.backbone} has no width multiplier; leave alpha out")
        if self.weights == "imagenet" and self.alpha not in info.alphas:
            known = ", ".join(str(alpha) for alpha in info.alphas)
            raise ValueError(
                f"alpha: no ImageNet weights for {self.backbone} at alpha {self.alpha}; expected one of {known}"
            )
        if self.weights == "sample" and (self.backbone, self.alpha) != ("MobileNetV2", 0.35):
            raise ValueError("weights: `sample` is a MobileNetV2 with alpha 0.35; set backbone and alpha so")
        if self.weights in PRESETS and self.weights not in info.presets:
            known = f"expected one of {', '.join(info.presets)}" if info.presets else "it has none"
            raise ValueError(f"weights: {self.weights} is no preset of {self.backbone}; {known}")
        if self.weights == "imagenet" and info.needs_hub and not info.presets:
            raise ValueError(f"weights: KerasHub publishes none for {self.backbone}; name a file, or `none`")
        for number in range(len(self.stages)):
            self._check_size(number, info)
            self._check_batch_norm(number, info)
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages: every name must be used once, found {', '.join(names)}")
        return self

    def stage_size(self, stage: int) -> Size:
        """A stage's input: `image_size` times the stage's scale, rounded, with the configuration's fit."""
        sides = (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size
        return Frame(*sides, self.fit).scaled(self.stages[stage].image_scale).size

    def stage_image_size(self, stage: int) -> int | str:
        """A stage's input for people and JSON: its side in px, or `384x512` (height x width)."""
        return size_name(self.stage_size(stage))

    @property
    def is_square(self) -> bool:
        """Whether the models of all stages see squares."""
        frames = [frame_of(self.stage_size(number)) for number in range(len(self.stages))]
        return all(frame.height == frame.width for frame in frames)

    def stage_batch_size(self, stage: int) -> int:
        """Photos per optimizer step of a stage."""
        own = self.stages[stage].batch_size
        return self.batch_size if own is None else own

    def keeps_statistics(self, stage: int) -> bool:
        """Whether a stage runs all of the backbone's BatchNorm in inference mode, with the values it has."""
        wanted = self.stages[stage].batch_norm
        return wanted == "frozen" or (wanted == "auto" and self.weights != "none")

    def trains_statistics(self, stage: int) -> bool:
        """Whether BatchNorm of unfrozen blocks uses and learns statistics of the batches of a stage; False if the
        backbone has no BatchNorm."""
        has_any = KNOWN_BACKBONES[self.backbone].batch_norm
        return has_any and not self.keeps_statistics(stage) and self.stages[stage].unfreeze > 0.0

    def statistics_momentum(self, stage: int) -> float | None:
        """Momentum of BatchNorm's running statistics in a stage; None: the backbone's own."""
        return self.stages[stage].batch_norm_momentum if self.trains_statistics(stage) else None

    def _check_size(self, number: int, info: BackboneInfo) -> None:
        frame = frame_of(self.stage_size(number))
        trains = f"stage `{self.stages[number].name}` trains at {self.stage_image_size(number)} px"
        if min(frame.height, frame.width) < info.min_size_px:
            raise ValueError(f"image_size: {trains}; {self.backbone} needs at least {info.min_size_px}")
        for side in (frame.height, frame.width):
            if side % info.side_step_px:
                near = " or ".join(str(other) for other in nearest_sides(info, side))
                raise ValueError(
                    f"image_size: {trains}; {self.backbone} needs multiples of {info.side_step_px}, such as {near}"
                )
        if info.square_only and frame.height != frame.width:
            raise ValueError(f"image_size: {trains}; {self.backbone} needs a square")
        if info.one_size and self.stage_size(number) != self.stage_size(0):
            raise ValueError(
                f"stages.{number}.image_scale: {trains}, the first one at {self.stage_image_size(0)};"
                f" {self.backbone} has weights for each position, so give all stages one size"
            )

    def _check_batch_norm(self, number: int, info: BackboneInfo) -> None:
        stage = self.stages[number]
        trains = stage.batch_norm == "train" and info.batch_norm
        if stage.batch_norm == "train" and not stage.unfreeze:
            raise ValueError(
                f"stages.{number}.batch_norm: stage `{stage.name}` trains no block of the backbone; set unfreeze above"
                " 0, or leave batch_norm out"
            )
        if self.stage_batch_size(number) == 1 and (self.head.has_batch_norm or trains):
            key = "batch_size" if stage.batch_size is None else f"stages.{number}.batch_size"
            where, remedy = (
                ("in the head", "head.batch_norm: false, or leave it out of head.layers")
                if self.head.has_batch_norm
                else ("that trains", "batch_norm: frozen")
            )
            raise ValueError(f"{key}: BatchNorm {where} needs 2 or more; set {remedy}")

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages if none stops early."""
        return sum(stage.epochs for stage in self.stages)
