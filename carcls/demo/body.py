"""The body of a car: shadow, hull, near side, windows and doors."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.demo.brush import BLACK, Brush, box, disc, shade, toned, upward_normal
from carcls.demo.cars import CarModel
from carcls.demo.scene import Colour


def paint_body(brush: Brush) -> None:
    """Paints shadow, hull, side and windows, from back to front."""
    _shadow(brush)
    _far_wheels(brush)
    profile = _profile(brush.model)
    _hull(brush, profile)
    _flank(brush, profile)
    _side_windows(brush)
    _screens(brush)


def _far_wheels(brush: Brush) -> None:
    radius = brush.model.wheel_radius
    for axle in (brush.model.rear_axle, brush.model.front_axle):
        brush.fill(lambda xy: brush.at_depth(xy, -0.8), disc(axle, radius, radius, radius), BLACK)


def _profile(m: CarModel) -> NDArray[np.float64]:
    """(n, 2): the upper outline from the rear bumper over the roof to the front bumper."""
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


def _shadow(brush: Brush) -> None:
    footprint = np.array([(-0.03, 0, -1.1), (1.03, 0, -1.1), (1.03, 0, 1.15), (-0.03, 0, 1.15)])
    pixels = brush.camera.pixels(footprint * (1, 1, brush.model.width / 2))
    mask = np.zeros((brush.canvas.shape[0] // 4, brush.canvas.shape[1] // 4), np.uint8)
    cv2.fillPoly(mask, [np.rint(pixels / 4).astype(np.int32)], 150)
    soft = cv2.resize(cv2.blur(mask, (5, 5)), brush.canvas.shape[1::-1])
    dark = 255 - cv2.merge([soft, soft, soft])
    cv2.multiply(brush.canvas, dark, brush.canvas, scale=1 / 255)


def _hull(brush: Brush, profile: NDArray[np.float64]) -> None:
    """Paints the panels across the car that face the camera. The cabin, above the rest, comes last."""
    near, far = brush.at_depth(profile, 1.0), brush.at_depth(profile, -1.0)
    strips = zip(near[:-1], near[1:], far[1:], far[:-1], strict=True)
    for strip in sorted(strips, key=lambda strip: float(strip[0][1] + strip[1][1])):
        normal = upward_normal(strip[0], strip[1])
        if brush.camera.sees(strip[0], normal):
            paint = _roof_paint(brush) if min(strip[0][1], strip[1][1]) > brush.model.belt else brush.look.paint
            brush.fill_space(np.array(strip), brush.lit(paint, normal))


def _flank(brush: Brush, profile: NDArray[np.float64]) -> None:
    colour = brush.lit(brush.look.paint, np.array([0.0, 0.0, 1.0]))
    brush.fill(brush.side, profile, colour)
    cabin = profile[profile[:, 1] >= brush.model.belt]
    brush.fill(brush.side, cabin, brush.lit(_roof_paint(brush), np.array([0.0, 0.0, 1.0])))
    # A lighter shoulder below the windows: paint mirrors the sky.
    m = brush.model
    shoulder = box(0.02, m.belt * 0.86, m.cowl, m.belt * 0.97)
    brush.fill(brush.side, shoulder, shade(colour, 1 + 0.35 * brush.look.gloss))
    brush.fill(brush.side, box(0.02, m.clearance, 0.985, m.clearance + 0.035), shade(colour, 0.8))


def _roof_paint(brush: Brush) -> Colour:
    return toned(brush.model.roof_tone, brush.look.paint)


def _side_windows(brush: Brush) -> None:
    m, glass = brush.model, brush.lit(brush.look.glass, np.array([0.0, 0.3, 0.9]))
    low, top = m.belt + 0.006, m.height - 0.028
    rise = (top - m.belt) / (m.height - m.belt)
    rear_low = max(m.deck, 0.02) + 0.035
    rear_top, front_low = rear_low + max(m.roof_rear - m.deck, 0.0) * rise, m.cowl - 0.025
    front_top = m.cowl - 0.02 - m.windscreen_run * rise
    for start, end in pairwise((0.0, *m.pillars, 1.0)):
        u0 = start + (m.pillar_width / 2 if start > 0 else 0)
        u1 = end - (m.pillar_width / 2 if end < 1 else 0)
        below = [(rear_low + u * (front_low - rear_low), low) for u in (u0, u1)]
        above = [
            (rear_top + u * (front_top - rear_top), drop) for u, drop in ((u1, top), (u0, top - m.roof_drop * (1 - u0)))
        ]
        brush.fill(brush.side, below + above, glass)
    _doors(brush, rear_low, front_low)


def _doors(brush: Brush, rear: float, front: float) -> None:
    m, edge = brush.model, shade(brush.look.paint, 0.45)
    seams = [rear + u * (front - rear) for u in m.pillars[-2:]] + [front]
    for seam in seams:
        x = max(seam, m.rear_axle + m.wheel_radius * 1.1)
        brush.line(brush.side, [(x, m.belt), (x, m.clearance + 0.03)], edge)
    for x in seams[1:] if len(seams) > 1 else [seams[0]]:
        behind = max(x - (seams[-1] - seams[0]) / max(len(seams) - 1, 1), rear + 0.06)
        brush.fill(brush.side, box(behind + 0.015, m.belt * 0.83, behind + 0.055, m.belt * 0.87), shade(edge, 0.7))


def _screens(brush: Brush) -> None:
    m = brush.model
    _screen(brush, (m.cowl - m.windscreen_run, m.height * 0.985), (m.cowl, m.belt))
    _screen(brush, (max(m.deck, 0.012), max(m.belt, m.tail)), (m.roof_rear, m.height - m.roof_drop))


def _screen(brush: Brush, rear: tuple[float, float], front: tuple[float, float]) -> None:
    panel = brush.across(rear, front)
    edges = panel(np.array([(1.0, 0.0), (1.0, 1.0)]))
    normal = upward_normal(edges[0], edges[1])
    if brush.camera.sees(edges[0], normal):
        brush.fill(panel, box(-0.9, 0.08, 0.9, 0.92), brush.lit(brush.look.glass, normal))


def _round_off(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cuts the corners of an open line once (Chaikin 1974): (n, 2) -> (2n, 2), the ends kept."""
    cut = np.empty((2 * len(points) - 2, 2))
    cut[0::2] = 0.8 * points[:-1] + 0.2 * points[1:]
    cut[1::2] = 0.2 * points[:-1] + 0.8 * points[1:]
    return np.concatenate([points[:1], cut, points[-1:]])
