"""Painting of car parts: the appearance of one photo, surfaces in space, shapes and colours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from carcls.demo.camera import Camera
from carcls.demo.cars import CarModel, Tone
from carcls.demo.scene import Colour, random_colour

Surface = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From coordinates on a panel (n, 2) to the car's (n, 3)."""

BLACK: Colour = (22, 22, 24)
PLASTIC: Colour = (52, 52, 55)
WHITE: Colour = (222, 222, 218)
CHROME: Colour = (215, 217, 220)

_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
_NARROWING = 0.28  # how much narrower the roof is than the doors
_ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])


@dataclass(frozen=True, slots=True)
class Look:
    """What differs between two photos of one model, apart from the camera."""

    paint: Colour
    glass: Colour
    light: NDArray[np.float64]
    """(3,): direction from which the light comes, unit length."""
    ambient: float
    lamps_on: bool
    gloss: float


def random_look(rng: np.random.Generator) -> Look:
    """Paint, glass and light of one photo."""
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.6, 1.0), rng.uniform(-0.2, 0.8)])
    glass = rng.uniform(25, 120)
    return Look(
        paint=random_colour(rng),
        glass=(glass, glass * rng.uniform(1.0, 1.1), glass * rng.uniform(1.0, 1.25)),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.5, 0.75),
        lamps_on=bool(rng.random() < 0.25),
        gloss=rng.uniform(0.0, 0.5),
    )


class Brush:
    """Paints panels of one car on a canvas, as seen by one camera in one light."""

    def __init__(self, canvas: NDArray[np.uint8], camera: Camera, model: CarModel, look: Look) -> None:
        self.canvas, self.camera, self.model, self.look = canvas, camera, model, look

    def _narrowing(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        rise = np.maximum(y - self.model.belt, 0.0) / (self.model.height - self.model.belt)
        return 1 - _NARROWING * rise

    def at_depth(self, xy: NDArray[np.float64], z: float) -> NDArray[np.float64]:
        """Points of the profile at `z` half-widths from the middle, following the narrower cabin."""
        return np.column_stack([xy, z * self.model.width / 2 * self._narrowing(xy[:, 1])])

    def side(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """The surface of the car's near side: (n, 2) of x and y -> (n, 3)."""
        return self.at_depth(xy, 1.0)

    def across(self, low: Sequence[float], high: Sequence[float]) -> Surface:
        """The panel across the car between two points of the profile; u -1..1, v 0..1."""
        bottom, top = np.array(low), np.array(high)

        def surface(uv: NDArray[np.float64]) -> NDArray[np.float64]:
            xy = bottom + uv[:, 1:2] * (top - bottom)
            return np.column_stack([xy, uv[:, 0] * self.model.width / 2 * self._narrowing(xy[:, 1])])

        return surface

    def fill(self, surface: Surface, shape: ArrayLike, colour: Colour) -> None:
        """Fills a shape (n, 2) on a surface."""
        self.fill_space(surface(np.asarray(shape, dtype=np.float64)), colour)

    def fill_space(self, points: NDArray[np.float64], colour: Colour) -> None:
        """Fills a polygon (n, 3) in space."""
        fixed = np.rint(self.camera.pixels(points) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.canvas, [fixed], colour, cv2.LINE_8, _SHIFT)

    def line(self, surface: Surface, line: ArrayLike, colour: Colour, thickness: int = 1) -> None:
        """Draws an open line (n, 2) on a surface, `thickness` px wide."""
        points = self.camera.pixels(surface(np.asarray(line, dtype=np.float64)))
        fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(self.canvas, [fixed], False, colour, thickness, cv2.LINE_8, _SHIFT)

    def lit(self, colour: Colour, normal: NDArray[np.float64]) -> Colour:
        """A colour in this photo's light on a surface with this normal (Lambert)."""
        look = self.look
        return shade(colour, look.ambient + (1.15 - look.ambient) * max(0.0, float(normal @ look.light)))


def toned(tone: Tone, paint: Colour) -> Colour:
    """The colour of a part with this tone. `paint` is the car's colour."""
    return {"paint": paint, "dark": PLASTIC, "light": WHITE}[tone]


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darkened, or lightened up to white."""
    return (min(colour[0] * factor, 255.0), min(colour[1] * factor, 255.0), min(colour[2] * factor, 255.0))


def upward_normal(rear: NDArray[np.float64], front: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,): unit normal of the line between two points of the profile, pointing outwards."""
    normal = np.array([rear[1] - front[1], front[0] - rear[0], 0.0])
    return normal / (np.linalg.norm(normal) + 1e-9)


def box(u0: float, v0: float, u1: float, v1: float) -> NDArray[np.float64]:
    """Corners of a rectangle: (4, 2)."""
    return np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])


def disc(u: float, v: float, ru: float, rv: float) -> NDArray[np.float64]:
    """An ellipse about (u, v): (20, 2)."""
    return _CIRCLE * (ru, rv) + (u, v)
