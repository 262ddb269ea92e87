"""Tries a transform on noise: a view must keep the dtype and size of its photo and must be reproducible."""

import random
from time import process_time
from typing import Any

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from carcls.errors import ConfigError

_PROBE_PX = (96, 128)
"""Sides of the noise photos. Two, so that a transform with a fixed output size fails."""
_DRAWS = 3
_RECTANGLE_PX = (96, 128)
_RECTANGLE_DRAWS = 16
"""Half of the random quarter turns keep the shape."""
_MAX_VIEW_S = 5.0
"""CPU time for one view of a noise photo; most transforms take a thousandth of it."""

PIXELS = "pixels must stay integers 0..255, since carsearch scales them for each backbone: remove it"


def probe(transform: Any, where: str) -> None:  # noqa: ANN401  # albumentations ships no types
    """Applies a transform to noise.

    Raises ConfigError if that fails, changes dtype or size, is not reproducible with equal generators, or takes longer
    than `_MAX_VIEW_S` for one view.
    """
    compose = A.Compose([transform])
    for side in _PROBE_PX:
        photo = _noise(side, side)
        try:
            began = process_time()
            first = [_drawn(compose, photo, 0)]
            taken = process_time() - began
            if taken > _MAX_VIEW_S:
                raise ConfigError(
                    f"{where}: takes {taken:.0f} s for a photo of {side} x {side} px; at most {_MAX_VIEW_S:g} s are"
                    " allowed: remove it, or reduce its parameters"
                )
            first += [_drawn(compose, photo, seed) for seed in range(1, _DRAWS)]
            # In reverse order, to detect state that one call leaves for the next.
            again = [_drawn(compose, photo, seed) for seed in reversed(range(_DRAWS))][::-1]
        except ConfigError:
            raise
        except Exception as error:  # any error of a transform is caused by the file
            raise ConfigError(f"{where}: cannot be applied to a photo of {side} x {side} px: {why(error)}") from error
        for out in first:
            _check_output(out, photo, where)
        if not all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)):
            raise ConfigError(
                f"{where}: uses a random generator that cannot be seeded, so trainings would not be reproducible:"
                " use another transform"
            )


def probe_on_rectangle(transform: Any, where: str) -> None:  # noqa: ANN401  # albumentations ships no types
    """Applies a transform that passed `probe` to a photo that is no square. Raises ConfigError if a draw turns it."""
    compose = A.Compose([transform])
    photo = _noise(*_RECTANGLE_PX)
    for seed in range(_RECTANGLE_DRAWS):
        try:
            out = _drawn(compose, photo, seed)
        except Exception as error:  # any error of a transform is caused by the file
            raise ConfigError(f"{where}: cannot be applied to a photo of {_sides(photo)} px: {why(error)}") from error
        if out.shape != photo.shape:
            raise ConfigError(
                f"{where}: turns a photo of {_sides(photo)} into {_sides(out)} px; on rectangles a view must keep its"
                " shape: remove it, or give train.image_size as one side, for squares"
            )


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    photo = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo.setflags(write=False)  # as in the pixel store
    return photo


def _sides(photo: NDArray[np.uint8]) -> str:
    return " x ".join(map(str, photo.shape[:2]))


def _drawn(compose: A.Compose, photo: NDArray[np.uint8], seed: int) -> Any:  # noqa: ANN401  # may be of any type
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311  # no secret
    return compose(image=photo)["image"]


def _check_output(out: object, photo: NDArray[np.uint8], where: str) -> None:
    if not isinstance(out, np.ndarray) or out.dtype != np.uint8:
        kind = out.dtype if isinstance(out, np.ndarray) else type(out).__name__
        raise ConfigError(f"{where}: turns pixels into {kind}: {PIXELS}")
    if out.shape != photo.shape:
        sizes = " to ".join(" x ".join(map(str, shape)) for shape in (photo.shape, out.shape))
        raise ConfigError(
            f"{where}: changes a photo of {sizes}; a view must keep the size set by train.image_size and the stages'"
            " image_scale: remove it, or crop with CropAndPad(percent=(-0.2, 0.0)), which keeps the size"
        )


def why(error: Exception) -> str:
    """An error of albumentations or OpenCV as one line."""
    if isinstance(error.__cause__, ValidationError):
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.__cause__.errors())
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
