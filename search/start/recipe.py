"""The recipe by number of photos. Measured in docs/recipes.md."""

from dataclasses import dataclass

_FEW_PHOTOS = 1500
"""Fewer count as few. Measured on 722 and 863 photos; where the other recipe overtakes is not known."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Parts of an experiment file. A range is the two ends of a domain; `first_` is the baseline's value."""

    head_epochs: int | None
    """None for those of the preset."""
    most_batch_size: int
    head_batch_norm: bool
    most_smoothing: float
    first_smoothing: float
    first_layer_decay: str
    """Empty for one rate in all layers."""
    head_rate: tuple[str, str]
    first_head_rate: str
    unfrozen_rate: tuple[str, str]
    first_unfrozen_rate: str
    is_pinned: bool
    """Whether the final training has the baseline's values, with as many views, in place of those that too few photos
    chose; otherwise the winner's, with a new view in every epoch."""


MANY_PHOTOS = Recipe(
    head_epochs=None,
    most_batch_size=32,
    head_batch_norm=True,
    most_smoothing=0.1,
    first_smoothing=0.05,
    first_layer_decay="",
    head_rate=("3e-4", "1e-2"),
    first_head_rate="0.002",
    unfrozen_rate=("5e-5", "1e-3"),
    first_unfrozen_rate="0.0003",
    is_pinned=False,
)
FEW_PHOTOS = Recipe(
    head_epochs=20,
    most_batch_size=16,
    head_batch_norm=False,
    most_smoothing=0.15,
    first_smoothing=0.1,
    first_layer_decay="0.8",
    head_rate=("1e-3", "1e-2"),
    first_head_rate="0.004",
    unfrozen_rate=("1e-4", "1.5e-3"),
    first_unfrozen_rate="0.0005",
    is_pinned=True,
)


def recipe_for(photos: int, *, is_pretrained: bool) -> Recipe:
    """is_pretrained: whether the weights come from ImageNet, with which few photos were measured."""
    return FEW_PHOTOS if photos < _FEW_PHOTOS and is_pretrained else MANY_PHOTOS
