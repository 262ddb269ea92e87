"""Parts attached to a car's body: lamps, grille, bumpers, strips, spoiler and wheels."""

import numpy as np
from numpy.typing import NDArray

from carcls.demo.brush import BLACK, CHROME, PLASTIC, Brush, Surface, box, disc, shade, toned
from carcls.demo.cars import CarModel
from carcls.demo.scene import Colour


def paint_trim(brush: Brush) -> None:
    """Paints over the body: its visible front or back, the near side, and the wheels last."""
    if brush.camera.eye[0] > 1:
        _face(brush)
    elif brush.camera.eye[0] < 0:
        _back(brush)
    for paint in (_bumper_ends, _lamp_ends, _strips, _mirror, _rails, _spoiler):
        paint(brush)
    for axle in (brush.model.rear_axle, brush.model.front_axle):
        _wheel(brush, axle)


def _face(brush: Brush) -> None:
    m = brush.model
    panel = brush.across((1.0, m.clearance), (0.99, m.nose * 0.97))
    _bumper(brush, panel, m.bumper)
    low, high = m.bumper + 0.06, 0.95
    _grille(brush, panel, low, high)
    middle, size = (low + high) / 2, (high - low) / 2 * min(m.lamp_size, 1.0)
    colour: Colour = (255, 250, 215) if brush.look.lamps_on else (205, 212, 218)
    for side in (-1, 1):
        brush.fill(panel, _lamp(m, side, middle, size), BLACK)
        brush.fill(panel, _lamp(m, side, middle, size * 0.8), colour)
    brush.fill(panel, box(-0.27, 0.16, 0.27, 0.32), (225, 225, 225))


def _bumper(brush: Brush, panel: Surface, top: float) -> None:
    colour = PLASTIC if brush.model.dark_bumper else shade(brush.look.paint, 0.7)
    brush.fill(panel, box(-1, 0, 1, top), colour)


def _grille(brush: Brush, panel: Surface, low: float, high: float) -> None:
    kind = brush.model.grille
    if kind == "closed":
        brush.line(panel, [(-0.45, low), (0.45, low)], BLACK, 2)
        return
    brush.fill(panel, box(-0.46, low, 0.46, high), BLACK)
    if kind == "slats":
        for v in np.linspace(low, high, 5)[1:-1]:
            brush.line(panel, [(-0.44, v), (0.44, v)], CHROME)
    elif kind == "bars":
        for u in np.linspace(-0.46, 0.46, 9)[1:-1]:
            brush.line(panel, [(u, low), (u, high)], CHROME)
    elif kind == "mesh":
        brush.fill(panel, box(-0.42, low + 0.03, 0.42, high - 0.03), PLASTIC)
        brush.fill(panel, disc(0, (low + high) / 2, 0.09, (high - low) * 0.3), CHROME)
    else:
        brush.fill(panel, box(-0.07, low, 0.07, high), brush.look.paint)


def _back(brush: Brush) -> None:
    m = brush.model
    panel = brush.across((0.0, m.clearance), (0.01, m.tail * 0.97))
    _bumper(brush, panel, m.bumper * 0.9)
    red: Colour = (215, 30, 30) if brush.look.lamps_on else (140, 22, 26)
    for shape in _tail_lamps(m):
        brush.fill(panel, shape, red)
    brush.line(panel, [(-0.8, 0.95), (0.8, 0.95)], shade(brush.look.paint, 0.45))
    brush.fill(panel, box(-0.27, 0.60, 0.27, 0.74), (225, 225, 225))


def _bumper_ends(brush: Brush) -> None:
    m = brush.model
    colour = PLASTIC if m.dark_bumper else shade(brush.look.paint, 0.6)
    low, gap = m.clearance + 0.01, m.wheel_radius * 1.2
    brush.fill(brush.side, box(m.front_axle + gap, low, 0.995, m.bumper * m.nose), colour)
    brush.fill(brush.side, box(0.005, low, m.rear_axle - gap, m.bumper * m.tail * 0.9), colour)


def _lamp_ends(brush: Brush) -> None:
    m = brush.model
    brush.fill(brush.side, box(0.955, m.nose * 0.74, 0.992, m.nose * 0.9), (235, 190, 120))
    reach = 0.06 if m.tail_lamp == "wide" else 0.035
    brush.fill(brush.side, box(0.006, m.tail * 0.62, reach, m.tail * 0.9), (150, 25, 28))


def _strips(brush: Brush) -> None:
    m = brush.model
    if m.cladding > 0:
        brush.fill(brush.side, box(0.03, m.clearance, 0.97, m.clearance + m.cladding), PLASTIC)
    if m.moulding > 0:
        y = m.belt * m.moulding
        colour = toned(m.moulding_tone, shade(brush.look.paint, 0.5))
        brush.fill(brush.side, box(0.02, y, 0.97, y + m.moulding_width), colour)


def _mirror(brush: Brush) -> None:
    m = brush.model
    brush.fill(brush.side, box(m.cowl - 0.07, m.belt, m.cowl - 0.035, m.belt + 0.03), shade(brush.look.paint, 0.55))


def _rails(brush: Brush) -> None:
    m = brush.model
    if m.roof_rails:
        y = m.height + 0.012
        brush.line(brush.side, [(m.roof_rear + 0.04, y), (m.cowl - m.windscreen_run - 0.04, y)], BLACK, 2)


def _spoiler(brush: Brush) -> None:
    """On the boot lid where there is one, else on the roof's end: its foot, its blade, and the blade's near end."""
    m = brush.model
    if m.spoiler == "none":
        return
    x, y = (0.01, m.tail) if m.deck > 0.03 else (m.roof_rear, m.height - m.roof_drop)
    lift, colour = (0.008, brush.look.paint) if m.spoiler == "lip" else (0.028, shade(brush.look.paint, 0.75))
    top = y + lift
    brush.fill(brush.side, [(x + 0.01, y), (x + 0.025, y), (x + 0.03, top), (x + 0.015, top)], PLASTIC)
    brush.fill(brush.across((x - 0.02, top), (x + 0.05, y + lift * 0.8)), box(-0.9, 0, 0.9, 1), colour)
    end = [(x - 0.025, top + 0.012), (x + 0.05, top), (x + 0.05, top - 0.012), (x - 0.015, top - 0.008)]
    brush.fill(brush.side, end, shade(colour, 0.7))


def _wheel(brush: Brush, axle: float) -> None:
    m, r = brush.model, brush.model.wheel_radius
    brush.fill(brush.side, np.maximum(disc(axle, r, r * 1.2, r * 1.2), (-1, m.clearance)), BLACK)
    brush.fill(brush.side, disc(axle, r, r, r), (30, 30, 32))
    hub = r * m.hub_size
    if m.hub == "steel":
        brush.fill(brush.side, disc(axle, r, hub, hub), (105, 106, 110))
        brush.fill(brush.side, disc(axle, r, hub * 0.45, hub * 0.45), BLACK)
    elif m.hub == "disc":
        brush.fill(brush.side, disc(axle, r, hub, hub), CHROME)
        brush.fill(brush.side, disc(axle, r, hub * 0.25, hub * 0.25), PLASTIC)
    else:
        _spokes(brush, axle, r, hub)


def _spokes(brush: Brush, axle: float, r: float, hub: float) -> None:
    brush.fill(brush.side, disc(axle, r, hub, hub), (70, 70, 74))
    for k in range(brush.model.spokes):
        angle = 2 * np.pi * k / brush.model.spokes
        tips = [(axle + hub * np.cos(angle + d), r + hub * np.sin(angle + d)) for d in (-0.28, 0.28)]
        brush.fill(brush.side, [(axle, r), *tips], CHROME)


def _lamp(model: CarModel, side: int, v: float, size: float) -> NDArray[np.float64]:
    """A headlamp on the front panel; `size` is half its height."""
    if model.lamp == "round":
        return disc(side * 0.72, v, 0.17, size)
    if model.lamp == "square":
        return box(side * 0.54, v - size * 0.8, side * 0.94, v + size * 0.8)
    if model.lamp == "slim":
        return box(side * 0.50, v, side * 0.98, v + size * 0.8)
    slanted = [(0.48, v - size * 0.5), (0.95, v - size * 0.1), (0.98, v + size), (0.55, v + size * 0.3)]
    return np.array(slanted) * (side, 1)


def _tail_lamps(model: CarModel) -> list[NDArray[np.float64]]:
    both = (-1, 1)
    if model.tail_lamp == "tall":
        return [box(side * 0.80, 0.55, side * 0.98, 0.95) for side in both]
    if model.tail_lamp == "wide":
        return [box(side * 0.45, 0.62, side * 0.97, 0.84) for side in both]
    if model.tail_lamp == "band":
        return [box(-0.95, 0.76, 0.95, 0.88)]
    return [disc(side * u, 0.72, 0.11, 0.11) for side in both for u in (0.82, 0.55)]
