"""carsearch backbones: the table of backbones."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from search.terminal.console import say
from search.terminal.text_table import table_lines

if TYPE_CHECKING:
    from carcls.catalog import BackboneInfo

_TITLES = ("backbone", "weights", "MB", "native px", "min px", "blocks", "BatchNorm", "pixels", "alpha")
_LEFT = ("backbone", "pixels", "alpha")
_HUB_TITLES = ("backbone", "weights", "MB", "native px", "min px", "step px", "blocks", "pixels", "preset")
_HUB_LEFT = ("backbone", "pixels", "preset")
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


_HUB_NOTES = (
    "step px: both sides are multiples of it. DINOv2 needs squares. ViT and DINOv2 train all stages at one size.",
    "preset: the one that `weights: imagenet` means. No backbone of KerasHub here has BatchNorm.",
)


def backbones() -> None:
    """List every backbone: size of its ImageNet weights, native and smallest size, blocks, BatchNorm, pixel scaling."""
    from carcls.catalog import BACKBONES, HUB_BACKBONES, HUB_INSTALL

    for line in backbone_lines(tuple(BACKBONES.values())):
        say(line)
    say("")
    for line in hub_lines(tuple(HUB_BACKBONES.values())):
        say(line)
    if find_spec("keras_hub") is None:
        say(f"KerasHub is not installed here: {HUB_INSTALL}")


def hub_lines(infos: Sequence["BackboneInfo"]) -> list[str]:
    """The table of KerasHub's backbones, what installs them, and notes on its columns."""
    from carcls.catalog import HUB_INSTALL

    left = [_HUB_TITLES.index(title) for title in _HUB_LEFT]
    table = table_lines([_HUB_TITLES, *(_hub_cells(info) for info in infos)], left=left)
    return [f"With KerasHub ({HUB_INSTALL}):", "", *table, "", *_HUB_NOTES]


def _hub_cells(info: "BackboneInfo") -> tuple[str, ...]:
    *cells, _, pixels, _ = _cells(info)
    return (*cells[:5], str(info.side_step_px), cells[5], pixels, info.presets[0] if info.presets else "")


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
