"""carsearch backbones: the table of backbones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.terminal.console import say
from search.terminal.text_table import table_lines

if TYPE_CHECKING:
    from carcls.catalog import BackboneInfo

_TITLES = ("backbone", "weights", "MB", "native px", "min px", "blocks", "BatchNorm", "pixels", "alpha")
_LEFT = ("backbone", "pixels", "alpha")
_PIXELS = {
    "minus_one_to_one": "-1..1",
    "zero_to_255": "0..255",
    "standardised_rgb": "mean/std",
    "centred_bgr": "BGR-mean",
}
_NOTES = (
    "weights: in millions, without top; MB: their ImageNet file; both at alpha 1.0.",
    "blocks: what `unfreeze` is a share of.",
    "pixels: what the backbone sees; carsearch scales them, and its photos are always 0..255.",
    "alpha: widths with ImageNet weights.",
)


def backbones() -> None:
    """List every backbone: size of its ImageNet weights, native and smallest size, blocks, BatchNorm, pixel scaling."""
    from carcls.catalog import BACKBONES

    for line in backbone_lines(tuple(BACKBONES.values())):
        say(line)


def backbone_lines(infos: Sequence["BackboneInfo"]) -> list[str]:
    """The table with its header, and notes on its columns."""
    left = [_TITLES.index(title) for title in _LEFT]
    return [*table_lines([_TITLES, *(_cells(info) for info in infos)], left=left), "", *_NOTES]


def _cells(info: "BackboneInfo") -> tuple[str, ...]:
    return (
        info.name,
        f"{info.weight_counts[info.alphas.index(1.0)] / 1e6:.1f}",
        f"{info.weights_mb(1.0):.0f}",
        str(info.native_size_px),
        str(info.min_size_px),
        str(info.block_count),
        "yes" if info.batch_norm else "no",
        _PIXELS[info.pixel_scaling],
        " ".join(str(alpha) for alpha in info.alphas) if info.has_alpha else "",
    )
