"""The configuration of one training run: frozen, typed, validated once. All its defaults are defined here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from carcls.catalog import AUGMENT_POLICIES, BACKBONES, POLICY_FILE_SUFFIXES, nearest_name
from carcls.frames import MAX_SIDE_PX, MIN_SIDE_PX, Fit, Frame, Size, frame_of, named_size, size_name

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HeadLayer(_Frozen):
    """One layer of a head of your own."""

    kind: Literal["dense", "batch_norm", "relu", "dropout"]
    """A dense layer has no activation of its own: add `relu`."""
    width: Annotated[int, Field(ge=1, le=8192)] | None = None
    """Dense: number of outputs."""
    bias: bool = True
    """Dense: whether it adds a bias, which BatchNorm behind it would make useless."""
    l2: Annotated[float, Field(ge=0.0)] = 0.0
    """Dense: L2 penalty on the kernel."""
    rate: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Dropout: share of the features dropped."""

    @model_validator(mode="after")
    def _has_its_own_settings(self) -> "HeadLayer":
        needed = {"dense": "width", "dropout": "rate"}.get(self.kind)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{needed}: is missing; a {self.kind} layer needs it")
        foreign = {"width": None, "rate": None} | {"bias": True, "l2": 0.0}
        own = {"dense": {"width", "bias", "l2"}, "dropout": {"rate"}}.get(self.kind, set())
        for key, unset in foreign.items():
            if key not in own and getattr(self, key) != unset:
                raise ValueError(f"{key}: a {self.kind} layer has none; leave it out")
        return self


class HeadConfig(_Frozen):
    """Layers on top of the backbone: pooling, [BatchNorm], [dense + ReLU], dropout, softmax; or pooling, `layers`,
    softmax."""

    pooling: Literal["avg", "max"] = "avg"
    """How the backbone's last feature map becomes one vector."""
    batch_norm: bool = True
    """Batch normalisation after pooling."""
    units: Annotated[int, Field(ge=0, le=8192)] = 0
    """Width of the optional dense layer; 0 leaves it out."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of the features dropped before the last layer."""
    l2: Annotated[float, Field(ge=0.0)] = 0.0
    """L2 penalty on the kernels of the head's dense layers; with `layers`, only on the last one, before softmax."""
    layers: tuple[HeadLayer, ...] | None = None
    """The layers between pooling and the last one, in order, in place of `batch_norm`, `units` and `dropout`, such as
    `[{kind: dense, width: 128, bias: false, l2: 1e-4}, {kind: batch_norm}, {kind: relu}, {kind: dropout, rate: 0.25}]`.
    """

    @property
    def has_batch_norm(self) -> bool:
        """Whether any of its layers is BatchNorm."""
        if self.layers is None:
            return self.batch_norm
        return any(layer.kind == "batch_norm" for layer in self.layers)

    @model_validator(mode="after")
    def _is_described_once(self) -> "HeadConfig":
        if self.layers is not None:
            for key in ("batch_norm", "units", "dropout"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key}: `layers` replaces it; leave one of the two out")
        return self


class AugmentConfig(_Frozen):
    """Augmentation of training photos. Epoch e shows view e mod `views`; validation photos are never augmented."""

    policy: str = "medium"
    """`none`, `light`, `medium`, `strong`, `trivial` (a flip and TrivialAugment, Müller & Hutter 2021: one transform of
    random strength), or a path to your own file of albumentations (.yaml, .yml, .json); the study keeps a copy of the
    file."""
    erase: Fraction = 0.0
    """Probability that a random rectangle of a photo becomes noise (random erasing, Zhong 2020), after the policy; 0
    turns it off."""
    views: Annotated[int, Field(ge=0)] = 0
    """Number of distinct views of each photo; 0 makes a new one in every epoch."""
    cache_views: bool = False
    """Keep the views in the node's store, for machines with few cores per GPU. Does not change results."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of the Beta distribution of mixup's blending ratio (Zhang 2018); 0 turns mixup off."""
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of the Beta distribution of the share of a photo that cutmix covers (Yun 2019); 0 turns cutmix off. If
    both are on, each batch gets one of the two."""

    @property
    def varies(self) -> bool:
        """Whether views differ from the plain photo."""
        return self.policy != "none" or self.erase > 0.0

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, policy: str) -> str:
        if policy.endswith(POLICY_FILE_SUFFIXES):
            return policy
        return _known(policy, AUGMENT_POLICIES, "augmentation policy")

    @model_validator(mode="after")
    def _cached_views_are_finite(self) -> "AugmentConfig":
        if self.cache_views and not self.views:
            raise ValueError("cache_views: with views 0 every epoch has its own views; set views to 1 or more")
        return self


class OptimizerConfig(_Frozen):
    """The optimizer. Every stage starts with a fresh one."""

    kind: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    """`sgd` uses Nesterov momentum."""
    weight_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decoupled weight decay (Loshchilov & Hutter 2019) of kernels, scaled by the step's learning rate; biases and
    normalisation are exempt. adam accepts only 0, since adam with decay is adamw."""
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


class ScheduleConfig(_Frozen):
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
    A training on all photos gets those of the folds."""

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


class EarlyStoppingConfig(_Frozen):
    """Ends the stage, never the trial, when validation log-loss stops improving."""

    patience_epochs: Annotated[int, Field(ge=1)]
    """Epochs without improvement before the stage ends."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change of log-loss that counts as an improvement."""


class StageConfig(_Frozen):
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
    image_scale: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    """Multiplies the configuration's image size."""
    early_stopping: EarlyStoppingConfig | None = None
    """Null: the stage runs all its epochs. Early stopping ends the stage, never the trial."""


RankBy = Literal["accuracy", "log_loss"]
"""How weights and trainings are ranked: by validation accuracy, or by log-loss after temperature scaling."""


class TrainConfig(_Frozen):
    """The complete configuration of one trial, concrete values only."""

    backbone: str
    """A name that `carsearch backbones` prints."""
    alpha: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    """Width multiplier of backbones that have one."""
    weights: Annotated[str, Field(min_length=1)] = "imagenet"
    """`imagenet`, `none`, `sample`, or the path of a .h5, .weights.h5 or .npz file without the top."""
    image_size: int | tuple[int, int]
    """Side of the square input in px, from 32 to 2048, or `[height, width]`, such as `[384, 512]`; a stage may scale
    it. `384x512` is the same as text."""
    fit: Fit = "stretch"
    """How a photo of another shape fills the input. `stretch` scales both sides alone; `pad` keeps the shape and adds
    bars of a neutral colour; `crop` keeps the shape and cuts off what is outside the middle."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    """Photos per optimizer step."""
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
        return _known(backbone, tuple(BACKBONES), "backbone")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        info = BACKBONES[self.backbone]
        if self.alpha != 1.0 and not info.has_alpha:
            raise ValueError(f"alpha: {self.backbone} has no width multiplier; leave alpha out")
        if self.weights == "imagenet" and self.alpha not in info.alphas:
            known = ", ".join(str(alpha) for alpha in info.alphas)
            raise ValueError(
                f"alpha: no ImageNet weights for {self.backbone} at alpha {self.alpha}; expected one of {known}"
            )
        if self.weights == "sample" and (self.backbone, self.alpha) != ("MobileNetV2", 0.35):
            raise ValueError("weights: `sample` is a MobileNetV2 with alpha 0.35; set backbone and alpha so")
        for number in range(len(self.stages)):
            frame = frame_of(self.stage_size(number))
            if min(frame.height, frame.width) < info.min_size_px:
                raise ValueError(
                    f"image_size: stage `{self.stages[number].name}` trains at {self.stage_image_size(number)} px;"
                    f" {self.backbone} needs at least {info.min_size_px}"
                )
            self._check_batch_norm(number)
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

    def stage_batch_size(self, stage: int) -> int:
        """Photos per optimizer step of a stage."""
        own = self.stages[stage].batch_size
        return self.batch_size if own is None else own

    def keeps_statistics(self, stage: int) -> bool:
        """Whether a stage runs all of the backbone's BatchNorm in inference mode, with the values it has."""
        wanted = self.stages[stage].batch_norm
        return wanted == "frozen" or (wanted == "auto" and self.weights != "none")

    def trains_statistics(self, stage: int) -> bool:
        """Whether BatchNorm of unfrozen blocks uses and learns statistics of the batches of a stage."""
        return not self.keeps_statistics(stage) and self.stages[stage].unfreeze > 0.0

    def _check_batch_norm(self, number: int) -> None:
        stage = self.stages[number]
        if stage.batch_norm == "train" and not stage.unfreeze:
            raise ValueError(
                f"stages.{number}.batch_norm: stage `{stage.name}` trains no block of the backbone; set unfreeze above"
                " 0, or leave batch_norm out"
            )
        if self.stage_batch_size(number) == 1 and (self.head.has_batch_norm or stage.batch_norm == "train"):
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


def _known(name: str, valid: tuple[str, ...], what: str) -> str:
    if name in valid:
        return name
    near = nearest_name(name, valid)
    hint = f"; did you mean {near!r}?" if near else f"; expected one of {', '.join(valid)}"
    raise ValueError(f"unknown {what} {name!r}{hint}")
