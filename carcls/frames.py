"""The size and shape of the photos that a model sees, and how photos of another shape get there. Pure values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Fit = Literal["stretch", "pad", "crop"]
"""How a photo of another shape fills a frame. `stretch`: both axes are scaled alone; `pad`: the whole photo, with bars
of a neutral colour; `crop`: the middle of the photo, without bars."""

MIN_SIDE_PX, MAX_SIDE_PX = 32, 2048
"""Limits of `image_size`."""

_SAME_ASPECT = 1.02
"""Most that aspect ratios of one shape may differ by, since scaled sides are rounded."""
_TEXT = re.compile(r"(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Frame:
    """Height and width in px of a model's input, and how photos fill it."""

    height: int
    width: int
    fit: Fit = "stretch"

    @property
    def area(self) -> int:
        """Pixels."""
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one photo in it: (height, width, 3)."""
        return (self.height, self.width, 3)

    @property
    def size(self) -> "Size":
        """The side if it is a square to which photos are stretched, else the frame itself."""
        return self.height if self.height == self.width and self.fit == "stretch" else self

    def scaled(self, factor: float) -> "Frame":
        """Both sides times a factor, rounded."""
        return replace(self, height=round(self.height * factor), width=round(self.width * factor))

    def __str__(self) -> str:
        """`224`, or `384x512` (height x width)."""
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


Size = int | Frame
"""A frame; an int is the side in px of a square to which photos are stretched."""


def frame_of(size: Size) -> Frame:
    """The frame of a size."""
    return size if isinstance(size, Frame) else Frame(size, size)


def take_photos_alike(frames: Sequence[Frame]) -> bool:
    """Whether a photo that was fitted to the largest of these frames may be resized to each other one.

    Stretched photos may be stretched again to any shape. Padded and cropped ones keep theirs, up to rounding.
    """
    if len({frame.fit for frame in frames}) > 1:
        return False
    aspects = [frame.width / frame.height for frame in frames]
    return frames[0].fit == "stretch" or max(aspects) <= _SAME_ASPECT * min(aspects)


def size_name(size: Size) -> int | str:
    """A size without its fit, for people and JSON: the side of a square, or `384x512`. `named_size` reads it."""
    frame = frame_of(size)
    return frame.height if frame.height == frame.width else str(frame)


def named_size(name: object, fit: Fit) -> Size | None:
    """The size of a `size_name`, or None for anything else."""
    if isinstance(name, int) and not isinstance(name, bool) and name > 0:
        return Frame(name, name, fit).size
    found = _TEXT.fullmatch(name) if isinstance(name, str) else None
    return Frame(int(found[1]), int(found[2]), fit).size if found else None


def named_area(name: int | str) -> int:
    """Pixels of a size from its name; 0 for anything else."""
    size = named_size(name, "stretch")
    return 0 if size is None else frame_of(size).area
