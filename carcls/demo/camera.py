"""The camera that a photo of a car is taken with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.demo.cars import CarModel


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera: maps the car's coordinates (x from rear 0 to front 1, y up, z towards us) to pixels."""

    matrix: NDArray[np.float64]
    """(4, 3): homogeneous points times this are homogeneous pixels."""
    eye: NDArray[np.float64]
    """(3,): position of the camera in the car's coordinates."""
    horizon: float
    """Border of sky and ground, in px from the top."""

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) -> (n, 2) px."""
        seen = points @ self.matrix[:3] + self.matrix[3]
        return seen[:, :2] / seen[:, 2:]

    def sees(self, point: NDArray[np.float64], normal: NDArray[np.float64]) -> bool:
        """Whether the outer side of a panel through `point` faces the camera."""
        return bool((self.eye - point) @ normal > 0)


def place_camera(rng: np.random.Generator, model: CarModel, height: int, width: int) -> Camera:
    """A random camera beside the car. The car may face either way, fills most of the picture, and may be off-centre."""
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
    return Camera(plain @ place.T, middle + distance * rotation[2], float(horizon))


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
