"""The layers on top of the backbone."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from carcls.config.common import FrozenModel


class HeadLayer(FrozenModel):
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


class HeadConfig(FrozenModel):
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
