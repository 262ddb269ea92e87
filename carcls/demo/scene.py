"""The surroundings of a drawn car and the effects of the camera, which are independent of the model."""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
"""RGB, 0..255."""


def random_colour(rng: np.random.Generator) -> Colour:
    """A random car paint; half of them are white, grey or black, as on the road."""
    saturation = rng.uniform(0.0, 0.12) if rng.random() < 0.5 else rng.uniform(0.35, 0.95)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.3, 0.98))
    return (red * 255, green * 255, blue * 255)


def backdrop(rng: np.random.Generator, height: int, width: int, *, horizon: float) -> NDArray[np.uint8]:
    """Sky, background objects, and ground with marks: uint8 RGB (height, width, 3)."""
    line = int(np.clip(horizon, 0.08 * height, 0.85 * height))
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:line] = _gradient(_dull(rng, 0.35, 1.0), _dull(rng, 0.35, 1.0), line)
    canvas[line:] = _gradient(_dull(rng, 0.15, 0.8), _dull(rng, 0.15, 0.8), height - line)
    for _ in range(int(rng.integers(0, 7))):
        _standing_thing(rng, canvas, line)
    for _ in range(int(rng.integers(0, 4))):
        _ground_mark(rng, canvas, line)
    return _mottled(rng, canvas)


def foreground(rng: np.random.Generator, canvas: NDArray[np.uint8]) -> None:
    """Sometimes paints something in front, in place: a pole, or grass along the lower edge."""
    height, width = canvas.shape[:2]
    if rng.random() < 0.12:
        x, thickness = int(rng.integers(0, width)), int(rng.integers(2, 8))
        cv2.rectangle(canvas, (x, 0), (x + thickness, height), _dull(rng, 0.1, 0.9), -1)
    if rng.random() < 0.15:
        for x in rng.integers(0, width, 12):
            centre, axes = (int(x), height), (int(rng.integers(8, 30)), int(rng.integers(4, height // 9)))
            cv2.ellipse(canvas, centre, axes, 0, 180, 360, _dull(rng, 0.15, 0.6), -1)


def finish(rng: np.random.Generator, canvas: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Camera effects: resizes to `size` (height, width), then adds blur, tone, colour cast, uneven light and noise."""
    photo = cv2.resize(canvas, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 0.8))
    photo = cv2.LUT(photo, _tone(rng))
    uneven = cv2.resize(
        rng.uniform(-16, 16, (2, 3)).astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR
    )
    grain = uneven + rng.standard_normal(size, dtype=np.float32) * rng.uniform(0, 5)
    return cv2.add(photo, cv2.merge([grain, grain, grain]), dtype=cv2.CV_8U)


def _tone(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(256, 1, 3): gamma, contrast and a colour cast as one look-up table."""
    level = np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.3)
    contrast, cast = rng.uniform(0.75, 1.1), rng.uniform(0.88, 1.12, 3)
    table = (0.5 + (level[:, None] - 0.5) * contrast) * cast * 255
    return np.clip(table, 0, 255).astype(np.uint8).reshape(256, 1, 3)


def _dull(rng: np.random.Generator, darkest: float, brightest: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.5) ** 1.5, rng.uniform(darkest, brightest))
    return (red * 255, green * 255, blue * 255)


def _gradient(top: Colour, bottom: Colour, rows: int) -> NDArray[np.uint8]:
    """(rows, 1, 3)."""
    return np.linspace(top, bottom, max(rows, 1)).astype(np.uint8)[:rows, None]


def _standing_thing(rng: np.random.Generator, canvas: NDArray[np.uint8], line: int) -> None:
    """A house with windows, a tree, or a pole at the horizon."""
    width = canvas.shape[1]
    x, wide, high = (int(v) for v in rng.integers((-20, 15, 10), (width, 110, max(line, 11))))
    kind, colour = rng.random(), _dull(rng, 0.1, 0.9)
    if kind < 0.45:
        cv2.rectangle(canvas, (x, line - high), (x + wide, line), colour, -1)
        dark = tuple(0.5 * part for part in colour)
        for left in range(x + 6, x + wide - 8, 18):
            for top in range(line - high + 6, line - 10, 20):
                cv2.rectangle(canvas, (left, top), (left + 7, top + 9), dark, -1)
    elif kind < 0.8:
        cv2.rectangle(canvas, (x - 2, line - high // 2), (x + 2, line), _dull(rng, 0.1, 0.4), -1)
        cv2.ellipse(canvas, (x, line - high * 2 // 3), (wide // 3 + 4, high // 3 + 2), 0, 0, 360, colour, -1)
    else:
        cv2.line(canvas, (x, line), (x, line - high), colour, int(rng.integers(2, 6)))


def _ground_mark(rng: np.random.Generator, canvas: NDArray[np.uint8], line: int) -> None:
    """A lane line, a crack or a patch."""
    height, width = canvas.shape[:2]
    y0, y1 = (int(v) for v in rng.integers(line, height, 2))
    x0, x1 = (int(v) for v in rng.integers(-width // 3, width * 4 // 3, 2))
    if rng.random() < 0.6:
        cv2.line(canvas, (x0, y0), (x1, y1), _dull(rng, 0.2, 1.0), int(rng.integers(1, 7)))
    else:
        cv2.ellipse(
            canvas, (x0, y0), (int(rng.integers(10, 90)), int(rng.integers(3, 14))), 0, 0, 360, _dull(rng, 0.1, 0.8), -1
        )


def _mottled(rng: np.random.Generator, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Adds soft spots, so that no surface is uniform."""
    height, width = canvas.shape[:2]
    rows, columns = (int(v) for v in rng.integers(3, 24, 2))
    spots = rng.uniform(-1, 1, (rows, columns)).astype(np.float32) * np.float32(rng.uniform(2, 14))
    spots = cv2.resize(spots, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.add(canvas, cv2.merge([spots, spots, spots]), dtype=cv2.CV_8U)
