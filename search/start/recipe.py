"""What of a training depends on how many photos there are. Measured in docs/recipes.md."""

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
    has_layer_decay: bool
    """Whether AdamW trains with rates that fall towards the input, in place of Adam with one rate."""
    keeps_views: bool
    """Whether the final training takes its head's features from the store too, or draws views anew in each epoch."""
    most_smoothing: float
    first_smoothing: float
    head_rate: tuple[str, str]
    first_head_rate: str
    unfrozen_rate: tuple[str, str]
    first_unfrozen_rate: str
    is_pinned: bool
    """Whether the final training has the baseline's values, in place of those that few photos chose."""


MANY_PHOTOS = Recipe(
    head_epochs=None,
    most_batch_size=32,
    head_batch_norm=True,
    has_layer_decay=False,
    keeps_views=False,
    most_smoothing=0.1,
    first_smoothing=0.05,
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
    has_layer_decay=True,
    keeps_views=True,
    most_smoothing=0.15,
    first_smoothing=0.1,
    head_rate=("1e-3", "1e-2"),
    first_head_rate="0.004",
    unfrozen_rate=("1e-4", "1.5e-3"),
    first_unfrozen_rate="0.0005",
    is_pinned=True,
)


def recipe_for(photos: int, *, is_pretrained: bool) -> Recipe:
    """is_pretrained: whether the weights come from ImageNet, with which few photos were measured."""
    return FEW_PHOTOS if photos < _FEW_PHOTOS and is_pretrained else MANY_PHOTOS
