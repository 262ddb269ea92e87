"""carsearch backbones: the table of what can be trained."""

from search.terminal import say


def backbones() -> None:
    """Every backbone: native and smallest size, pixel scaling, weights."""
    from carcls.catalog import BACKBONES

    for info in BACKBONES.values():
        say(f"{info.name}\t{info.native_size_px}\t{info.min_size_px}\t{info.pixel_scaling}")
