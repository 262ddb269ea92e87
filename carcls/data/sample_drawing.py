"""Draws one photo of a car model: a few dozen flat panels in space, seen from somewhere, painted from back to front."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from carcls.data.sample_cars import CarModel, Tone
from carcls.data.sample_scene import backdrop, finish, foreground, random_colour

Colour = tuple[float, float, float]
"""RGB, 0..255."""

_OVERSAMPLING = 2
_SHIFT = 4  # bits behind the point in the coordinates that OpenCV takes
_TUMBLEHOME = 0.14  # how much narrower the roof is than the doors
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 20, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 20, endpoint=False))], 1
)
_BLACK: Colour = (22, 22, 24)
_PLASTIC: Colour = (52, 52, 55)
_WHITE: Colour = (222, 222, 218)
_CHROME: Colour = (215, 217, 220)


def draw_car(rng: np.random.Generator, model: CarModel, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One photo, uint8 RGB (height, width, 3), `size` being (height, width) in px.

    The model decides the shape; `rng` decides all else: view, colour, place, light, background, noise and blur.
    """
    height, width = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
    camera = _camera(rng, model, height, width)
    canvas = backdrop(rng, height, width, horizon=camera.horizon)
    _Car(canvas, camera, model, _look(rng)).draw()
    foreground(rng, canvas)
    return finish(rng, canvas, size)


@dataclass(frozen=True, slots=True)
class _Camera:
    """A pinhole: from the car's coordinates (x rear to front 0..1, y up, z towards us) to pixels."""

    matrix: NDArray[np.float64]
    """(4, 3): homogeneous points times this are homogeneous pixels."""
    eye: NDArray[np.float64]
    """(3,): where the camera stands, in the car's coordinates."""
    horizon: float
    """Where sky and ground meet, in px from the top."""

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) -> (n, 2) px."""
        seen = points @ self.matrix[:3] + self.matrix[3]
        return seen[:, :2] / seen[:, 2:]

    def sees(self, point: NDArray[np.float64], normal: NDArray[np.float64]) -> bool:
        """Whether a flat piece through `point` turns its outer side to us."""
        return bool((self.eye - point) @ normal > 0)


def _camera(rng: np.random.Generator, model: CarModel, height: int, width: int) -> _Camera:
    yaw, pitch, roll = np.deg2rad([rng.uniform(-35, 35), rng.uniform(3, 11), rng.uniform(-3, 3)])
    rotation, distance = _about_x(pitch) @ _about_y(yaw), rng.uniform(2.0, 4.5)
    middle = np.array([0.5, 0.0, 0.0])
    # Before it is placed: picture plane through the car's middle, the eye `distance` in front of it.
    lens = np.column_stack([rotation[0] * distance, rotation[1] * distance, -rotation[2]])
    plain = np.vstack([lens, np.array([0, 0, distance]) - middle @ lens])
    low, high = _extent(plain, model)
    picture = np.array([width, height])
    scale = rng.uniform(0.82, 1.0) * float((picture / (high - low)).min())
    free = np.maximum(picture - scale * (high - low), 0.06 * width)
    centre = picture / 2 + rng.uniform(-0.5, 0.5, 2) * free
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) @ np.diag([mirror * scale, -scale])
    place = np.eye(3)
    place[:2, :2], place[:2, 2] = turn, centre - turn @ ((low + high) / 2)
    horizon = centre[1] - scale * (high[1] - low[1]) * rng.uniform(-0.1, 0.6)
    return _Camera(plain @ place.T, middle + distance * rotation[2], float(horizon))


def _about_x(angle: float) -> NDArray[np.float64]:
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def _about_y(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])


def _extent(matrix: NDArray[np.float64], model: CarModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners (2,) of the rectangle that the car's bounding box fills on the picture plane."""
    half = model.width / 2
    corners = np.array([(x, y, z, 1) for x in (0, 1) for y in (0, model.height) for z in (-half, half)]) @ matrix
    flat = corners[:, :2] / corners[:, 2:]
    return flat.min(axis=0), flat.max(axis=0)


@dataclass(frozen=True, slots=True)
class _Look:
    """What differs between two photos of one model, apart from where the camera stands."""

    paint: Colour
    glass: Colour
    light: NDArray[np.float64]
    """(3,): direction from which the light comes, unit length."""
    ambient: float
    lamps_on: bool
    gloss: float


def _look(rng: np.random.Generator) -> _Look:
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.6, 1.0), rng.uniform(-0.2, 0.8)])
    glass = rng.uniform(25, 120)
    return _Look(
        paint=random_colour(rng),
        glass=(glass, glass * rng.uniform(1.0, 1.1), glass * rng.uniform(1.0, 1.25)),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.5, 0.75),
        lamps_on=bool(rng.random() < 0.25),
        gloss=rng.uniform(0.0, 0.5),
    )


def _toned(tone: Tone, paint: Colour) -> Colour:
    return {"paint": paint, "dark": _PLASTIC, "light": _WHITE}[tone]


def _shade(colour: Colour, factor: float) -> Colour:
    return (min(colour[0] * factor, 255.0), min(colour[1] * factor, 255.0), min(colour[2] * factor, 255.0))


def _upward_normal(rear: NDArray[np.float64], front: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,): unit length, across the line between two points of the profile, on its outer side."""
    normal = np.array([rear[1] - front[1], front[0] - rear[0], 0.0])
    return normal / (np.linalg.norm(normal) + 1e-9)


def _round_off(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cuts the corners of an open line once (Chaikin 1974): (n, 2) -> (2n, 2), the ends kept."""
    cut = np.empty((2 * len(points) - 2, 2))
    cut[0::2] = 0.8 * points[:-1] + 0.2 * points[1:]
    cut[1::2] = 0.2 * points[:-1] + 0.8 * points[1:]
    return np.concatenate([points[:1], cut, points[-1:]])


def _box(u0: float, v0: float, u1: float, v1: float) -> NDArray[np.float64]:
    return np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])


def _disc(u: float, v: float, ru: float, rv: float) -> NDArray[np.float64]:
    return _CIRCLE * (ru, rv) + (u, v)


Surface = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From coordinates on a panel (n, 2) to the car's (n, 3)."""


class _Car:
    """Paints one car on a canvas; owns nothing beyond this one drawing."""

    def __init__(self, canvas: NDArray[np.uint8], camera: _Camera, model: CarModel, look: _Look) -> None:
        self._canvas, self._camera, self._model, self._look = canvas, camera, model, look
        self._half = model.width / 2

    def draw(self) -> None:
        model = self._model
        self._shadow()
        for axle in (model.rear_axle, model.front_axle):
            self._fill(
                lambda uv: self._at_depth(uv, -0.8),
                _disc(axle, model.wheel_radius, model.wheel_radius, model.wheel_radius),
                _BLACK,
            )
        profile = self._profile()
        self._hull(profile)
        self._flank(profile)
        self._side_windows()
        self._screens()
        if self._camera.eye[0] > 1:
            self._face()
        elif self._camera.eye[0] < 0:
            self._back()
        self._trim()
        for axle in (model.rear_axle, model.front_axle):
            self._wheel(axle)

    # Surfaces -------------------------------------------------------------------------------------------------

    def _narrowing(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        rise = np.maximum(y - self._model.belt, 0.0) / (self._model.height - self._model.belt)
        return 1 - _TUMBLEHOME * 2 * rise

    def _at_depth(self, xy: NDArray[np.float64], z: float) -> NDArray[np.float64]:
        """Points of the profile at `z` half-widths from the middle, drawn in where the cabin narrows."""
        return np.column_stack([xy, z * self._half * self._narrowing(xy[:, 1])])

    def _side(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._at_depth(xy, 1.0)

    def _across(self, low: Sequence[float], high: Sequence[float]) -> Surface:
        """The panel that runs across the car from one point of the profile to another; u -1..1, v 0..1."""
        bottom, top = np.array(low), np.array(high)

        def surface(uv: NDArray[np.float64]) -> NDArray[np.float64]:
            xy = bottom + uv[:, 1:2] * (top - bottom)
            return np.column_stack([xy, uv[:, 0] * self._half * self._narrowing(xy[:, 1])])

        return surface

    def _fill(self, surface: Surface, shape: ArrayLike, colour: Colour) -> None:
        self._fill_space(surface(np.asarray(shape, dtype=np.float64)), colour)

    def _fill_space(self, points: NDArray[np.float64], colour: Colour) -> None:
        fixed = np.rint(self._camera.pixels(points) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self._canvas, [fixed], colour, cv2.LINE_8, _SHIFT)

    def _line(self, surface: Surface, line: ArrayLike, colour: Colour, thickness: int = 1) -> None:
        points = self._camera.pixels(surface(np.asarray(line, dtype=np.float64)))
        fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(self._canvas, [fixed], False, colour, thickness, cv2.LINE_8, _SHIFT)

    def _lit(self, colour: Colour, normal: NDArray[np.float64]) -> Colour:
        look = self._look
        return _shade(colour, look.ambient + (1.15 - look.ambient) * max(0.0, float(normal @ look.light)))

    # Parts ----------------------------------------------------------------------------------------------------

    def _profile(self) -> NDArray[np.float64]:
        """(n, 2): the upper outline from the rear bumper over the roof to the front bumper."""
        m = self._model
        roof_front = m.cowl - m.windscreen_run
        middle = (m.roof_rear + roof_front) / 2
        points = [(0.02, m.clearance), (0.0, m.clearance + 0.04), (0.005, m.tail * 0.75), (0.015, m.tail)]
        if m.deck > 0.03:
            points.append((m.deck, max(m.belt, m.tail)))
        points += [
            (m.roof_rear, m.height - m.roof_drop),
            (middle, m.height),
            (roof_front, m.height * 0.985),
            (m.cowl, m.belt),
            (0.965, m.nose),
            (1.0, m.nose * 0.7),
            (1.0, m.clearance + 0.04),
            (0.98, m.clearance),
        ]
        return _round_off(np.array(points))

    def _shadow(self) -> None:
        footprint = np.array([(-0.03, 0, -1.1), (1.03, 0, -1.1), (1.03, 0, 1.15), (-0.03, 0, 1.15)]) * (
            1,
            1,
            self._half,
        )
        pixels = self._camera.pixels(footprint)
        mask = np.zeros((self._canvas.shape[0] // 4, self._canvas.shape[1] // 4), np.uint8)
        cv2.fillPoly(mask, [np.rint(pixels / 4).astype(np.int32)], 150)
        soft = cv2.resize(cv2.blur(mask, (5, 5)), self._canvas.shape[1::-1])
        dark = 255 - cv2.merge([soft, soft, soft])
        cv2.multiply(self._canvas, dark, self._canvas, scale=1 / 255)

    def _hull(self, profile: NDArray[np.float64]) -> None:
        """The strips across the car that turn to us; the cabin, which stands above the rest, last."""
        near, far = self._at_depth(profile, 1.0), self._at_depth(profile, -1.0)
        strips = sorted(
            zip(near[:-1], near[1:], far[1:], far[:-1], strict=True), key=lambda strip: strip[0][1] + strip[1][1]
        )
        for strip in strips:
            normal = _upward_normal(strip[0], strip[1])
            if self._camera.sees(strip[0], normal):
                paint = self._roof_paint() if min(strip[0][1], strip[1][1]) > self._model.belt else self._look.paint
                self._fill_space(np.array(strip), self._lit(paint, normal))

    def _flank(self, profile: NDArray[np.float64]) -> None:
        colour = self._lit(self._look.paint, np.array([0.0, 0.0, 1.0]))
        self._fill(self._side, profile, colour)
        cabin = profile[profile[:, 1] >= self._model.belt]
        self._fill(self._side, cabin, self._lit(self._roof_paint(), np.array([0.0, 0.0, 1.0])))
        # A lighter shoulder below the windows: paint mirrors the sky.
        m = self._model
        shoulder = _box(0.02, m.belt * 0.86, m.cowl, m.belt * 0.97)
        self._fill(self._side, shoulder, _shade(colour, 1 + 0.35 * self._look.gloss))
        self._fill(self._side, _box(0.02, m.clearance, 0.985, m.clearance + 0.035), _shade(colour, 0.8))

    def _roof_paint(self) -> Colour:
        return _toned(self._model.roof_tone, self._look.paint)

    def _side_windows(self) -> None:
        m, glass = self._model, self._lit(self._look.glass, np.array([0.0, 0.3, 0.9]))
        top = m.height - 0.028
        rise = (top - m.belt) / (m.height - m.belt)
        front = (m.cowl - 0.025, m.cowl - 0.02 - m.windscreen_run * rise)
        rear_low = max(m.deck, 0.02) + 0.035
        rear = (rear_low, rear_low + max(m.roof_rear - m.deck, 0.0) * rise)
        edges = (0.0, *m.pillars, 1.0)
        for start, end in pairwise(edges):
            u0 = start + (m.pillar_width / 2 if start > 0 else 0)
            u1 = end - (m.pillar_width / 2 if end < 1 else 0)
            low = [rear[0] + u * (front[0] - rear[0]) for u in (u0, u1)]
            high = [rear[1] + u * (front[1] - rear[1]) for u in (u0, u1)]
            window = [
                (low[0], m.belt + 0.006),
                (low[1], m.belt + 0.006),
                (high[1], top),
                (high[0], top - m.roof_drop * (1 - u0)),
            ]
            self._fill(self._side, window, glass)
        self._doors(rear[0], front[0])

    def _doors(self, rear: float, front: float) -> None:
        m, edge = self._model, _shade(self._look.paint, 0.45)
        seams = [rear + u * (front - rear) for u in m.pillars[-2:]] + [front]
        for seam in seams:
            x = max(seam, m.rear_axle + m.wheel_radius * 1.1)
            self._line(self._side, [(x, m.belt), (x, m.clearance + 0.03)], edge)
        for x in seams[1:] if len(seams) > 1 else [seams[0]]:
            behind = max(x - (seams[-1] - seams[0]) / max(len(seams) - 1, 1), rear + 0.06)
            self._fill(
                self._side, _box(behind + 0.015, m.belt * 0.83, behind + 0.055, m.belt * 0.87), _shade(edge, 0.7)
            )

    def _screens(self) -> None:
        m = self._model
        self._screen((m.cowl - m.windscreen_run, m.height * 0.985), (m.cowl, m.belt))
        self._screen((max(m.deck, 0.012), max(m.belt, m.tail)), (m.roof_rear, m.height - m.roof_drop))

    def _screen(self, rear: tuple[float, float], front: tuple[float, float]) -> None:
        panel = self._across(rear, front)
        edges = panel(np.array([(1.0, 0.0), (1.0, 1.0)]))
        normal = _upward_normal(edges[0], edges[1])
        if self._camera.sees(edges[0], normal):
            self._fill(panel, _box(-0.9, 0.08, 0.9, 0.92), self._lit(self._look.glass, normal))

    def _face(self) -> None:
        m = self._model
        panel = self._across((1.0, m.clearance), (0.99, m.nose * 0.97))
        self._bumper(panel, m.bumper)
        low, high = m.bumper + 0.06, 0.95
        self._grille(panel, low, high)
        middle, size = (low + high) / 2, (high - low) / 2 * min(m.lamp_size, 1.0)
        colour: Colour = (255, 250, 215) if self._look.lamps_on else (205, 212, 218)
        for side in (-1, 1):
            self._fill(panel, _lamp(m, side, middle, size), _BLACK)
            self._fill(panel, _lamp(m, side, middle, size * 0.8), colour)
        self._fill(panel, _box(-0.27, 0.16, 0.27, 0.32), (225, 225, 225))

    def _bumper(self, panel: Surface, top: float) -> None:
        colour = _PLASTIC if self._model.dark_bumper else _shade(self._look.paint, 0.7)
        self._fill(panel, _box(-1, 0, 1, top), colour)

    def _grille(self, panel: Surface, low: float, high: float) -> None:
        kind = self._model.grille
        if kind == "closed":
            self._line(panel, [(-0.45, low), (0.45, low)], _BLACK, 2)
            return
        self._fill(panel, _box(-0.46, low, 0.46, high), _BLACK)
        if kind == "slats":
            for v in np.linspace(low, high, 5)[1:-1]:
                self._line(panel, [(-0.44, v), (0.44, v)], _CHROME)
        elif kind == "bars":
            for u in np.linspace(-0.46, 0.46, 9)[1:-1]:
                self._line(panel, [(u, low), (u, high)], _CHROME)
        elif kind == "mesh":
            self._fill(panel, _box(-0.42, low + 0.03, 0.42, high - 0.03), _PLASTIC)
            self._fill(panel, _disc(0, (low + high) / 2, 0.09, (high - low) * 0.3), _CHROME)
        else:
            self._fill(panel, _box(-0.07, low, 0.07, high), self._look.paint)

    def _back(self) -> None:
        m = self._model
        panel = self._across((0.0, m.clearance), (0.01, m.tail * 0.97))
        self._bumper(panel, m.bumper * 0.9)
        red: Colour = (215, 30, 30) if self._look.lamps_on else (140, 22, 26)
        for shape in _tail_lamps(m):
            self._fill(panel, shape, red)
        self._line(panel, [(-0.8, 0.95), (0.8, 0.95)], _shade(self._look.paint, 0.45))
        self._fill(panel, _box(-0.27, 0.60, 0.27, 0.74), (225, 225, 225))

    def _trim(self) -> None:
        m = self._model
        bumper_colour = _PLASTIC if m.dark_bumper else _shade(self._look.paint, 0.6)
        for x0, x1, top in (
            (m.front_axle + m.wheel_radius * 1.2, 0.995, m.bumper * m.nose),
            (0.005, m.rear_axle - m.wheel_radius * 1.2, m.bumper * m.tail * 0.9),
        ):
            self._fill(self._side, _box(x0, m.clearance + 0.01, x1, top), bumper_colour)
        self._fill(self._side, _box(0.955, m.nose * 0.74, 0.992, m.nose * 0.9), (235, 190, 120))
        self._fill(
            self._side,
            _box(0.006, m.tail * 0.62, 0.035 if m.tail_lamp != "wide" else 0.06, m.tail * 0.9),
            (150, 25, 28),
        )
        if m.cladding > 0:
            self._fill(self._side, _box(0.03, m.clearance, 0.97, m.clearance + m.cladding), _PLASTIC)
        if m.moulding > 0:
            y = m.belt * m.moulding
            colour = _toned(m.moulding_tone, _shade(self._look.paint, 0.5))
            self._fill(self._side, _box(0.02, y, 0.97, y + m.moulding_width), colour)
        self._fill(
            self._side, _box(m.cowl - 0.07, m.belt, m.cowl - 0.035, m.belt + 0.03), _shade(self._look.paint, 0.55)
        )
        self._upper_trim()

    def _upper_trim(self) -> None:
        m = self._model
        if m.roof_rails:
            self._line(
                self._side,
                [(m.roof_rear + 0.04, m.height + 0.012), (m.cowl - m.windscreen_run - 0.04, m.height + 0.012)],
                _BLACK,
                2,
            )
        if m.spoiler == "none":
            return
        low = m.tail if m.deck > 0.03 else m.height - m.roof_drop
        x = 0.01 if m.deck > 0.03 else m.roof_rear
        lift, colour = (0.008, self._look.paint) if m.spoiler == "lip" else (0.028, _shade(self._look.paint, 0.75))
        self._fill(
            self._side, [(x + 0.01, low), (x + 0.025, low), (x + 0.03, low + lift), (x + 0.015, low + lift)], _PLASTIC
        )
        self._fill(self._across((x - 0.02, low + lift), (x + 0.05, low + lift * 0.8)), _box(-0.9, 0, 0.9, 1), colour)
        self._fill(
            self._side,
            [
                (x - 0.025, low + lift + 0.012),
                (x + 0.05, low + lift),
                (x + 0.05, low + lift - 0.012),
                (x - 0.015, low + lift - 0.008),
            ],
            _shade(colour, 0.7),
        )

    def _wheel(self, axle: float) -> None:
        m, r = self._model, self._model.wheel_radius
        self._fill(self._side, np.maximum(_disc(axle, r, r * 1.2, r * 1.2), (-1, m.clearance)), _BLACK)
        self._fill(self._side, _disc(axle, r, r, r), (30, 30, 32))
        hub = r * m.hub_size
        if m.hub == "steel":
            self._fill(self._side, _disc(axle, r, hub, hub), (105, 106, 110))
            self._fill(self._side, _disc(axle, r, hub * 0.45, hub * 0.45), _BLACK)
        elif m.hub == "disc":
            self._fill(self._side, _disc(axle, r, hub, hub), _CHROME)
            self._fill(self._side, _disc(axle, r, hub * 0.25, hub * 0.25), _PLASTIC)
        else:
            self._spokes(axle, r, hub)

    def _spokes(self, axle: float, r: float, hub: float) -> None:
        self._fill(self._side, _disc(axle, r, hub, hub), (70, 70, 74))
        for k in range(self._model.spokes):
            angle = 2 * np.pi * k / self._model.spokes
            tips = [(axle + hub * np.cos(angle + d), r + hub * np.sin(angle + d)) for d in (-0.28, 0.28)]
            self._fill(self._side, [(axle, r), *tips], _CHROME)


def _lamp(model: CarModel, side: int, v: float, size: float) -> NDArray[np.float64]:
    """A headlamp on the front panel; `size` is half its height."""
    if model.lamp == "round":
        return _disc(side * 0.72, v, 0.17, size)
    if model.lamp == "square":
        return _box(side * 0.54, v - size * 0.8, side * 0.94, v + size * 0.8)
    if model.lamp == "slim":
        return _box(side * 0.50, v, side * 0.98, v + size * 0.8)
    return np.array([(0.48, v - size * 0.5), (0.95, v - size * 0.1), (0.98, v + size), (0.55, v + size * 0.3)]) * (
        side,
        1,
    )


def _tail_lamps(model: CarModel) -> list[NDArray[np.float64]]:
    both = (-1, 1)
    if model.tail_lamp == "tall":
        return [_box(side * 0.80, 0.55, side * 0.98, 0.95) for side in both]
    if model.tail_lamp == "wide":
        return [_box(side * 0.45, 0.62, side * 0.97, 0.84) for side in both]
    if model.tail_lamp == "band":
        return [_box(-0.95, 0.76, 0.95, 0.88)]
    return [_disc(side * u, 0.72, 0.11, 0.11) for side in both for u in (0.82, 0.55)]
