"""Draws one photo of a car model: a few dozen flat panels in space, painted from back to front."""

import numpy as np
from numpy.typing import NDArray

from carcls.demo.body import paint_body
from carcls.demo.brush import Brush, random_look
from carcls.demo.camera import place_camera
from carcls.demo.cars import CarModel
from carcls.demo.scene import backdrop, finish, foreground
from carcls.demo.trim import paint_trim

_OVERSAMPLING = 2


def draw_car(rng: np.random.Generator, model: CarModel, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One photo, uint8 RGB (height, width, 3). size: (height, width) in px.

    The model determines the shape; `rng` everything else: view, colour, position, light, background, noise and blur.
    """
    height, width = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
    camera = place_camera(rng, model, height, width)
    canvas = backdrop(rng, height, width, horizon=camera.horizon)
    brush = Brush(canvas, camera, model, random_look(rng))
    paint_body(brush)
    paint_trim(brush)
    foreground(rng, canvas)
    return finish(rng, canvas, size)
