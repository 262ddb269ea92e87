"""The shapes of drawn car models, which a classifier of the sample data has to distinguish."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

BodyKind = Literal["sedan", "hatchback", "wagon", "coupe", "offroad"]
LampShape = Literal["round", "square", "slim", "slanted"]
GrilleKind = Literal["slats", "bars", "mesh", "split", "closed"]
TailShape = Literal["tall", "wide", "band", "pair"]
HubKind = Literal["disc", "steel", "spokes"]
SpoilerKind = Literal["none", "lip", "wing"]
Tone = Literal["paint", "dark", "light"]
BODY_KINDS: tuple[BodyKind, ...] = get_args(BodyKind)
TONES: tuple[Tone, ...] = get_args(Tone)

Range = tuple[float, float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CarModel:
    """One car model. Lengths are shares of the car's length; the x axis runs from the rear (0) to the front (1)."""

    body: BodyKind
    height: float
    width: float
    clearance: float
    """Height of the sill above the ground."""
    wheel_radius: float
    front_axle: float
    rear_axle: float
    belt: float
    """Height at which the windows begin."""
    nose: float
    """Height of the hood's front edge."""
    cowl: float
    """x at which the windscreen meets the hood."""
    windscreen_run: float
    """Horizontal length of the windscreen."""
    roof_rear: float
    """x at which the roof ends."""
    deck: float
    """x at which the rear window meets the boot lid."""
    tail: float
    """Height of the boot lid's rear edge."""
    roof_drop: float
    """How much lower the roof is at its rear end."""
    pillars: tuple[float, ...]
    """Positions between side windows, as shares of their length, from the rear."""
    pillar_width: float
    lamp: LampShape
    lamp_size: float
    grille: GrilleKind
    tail_lamp: TailShape
    hub: HubKind
    spokes: int
    hub_size: float
    """Share of the wheel's radius."""
    dark_bumper: bool
    bumper: float
    """Height of the bumper's upper edge, as a share of the nose."""
    cladding: float
    """Height of dark plastic above the sill; 0 if the sill is painted."""
    moulding: float
    """Height of the strip along the doors as a share of the belt; 0 for none."""
    moulding_width: float
    moulding_tone: Tone
    """Tone of the strip; `paint` is a darker shade of the paint."""
    roof_tone: Tone
    """Tone of the roof and the pillars."""
    spoiler: SpoilerKind
    roof_rails: bool


@dataclass(frozen=True, slots=True)
class _Body:
    """Proportions of one kind of body: ranges from which models are drawn."""

    height: Range
    clearance: Range
    cowl: Range
    roof_rear: Range
    rear_run: Range
    tail: Range
    """As a share of the belt's height."""
    windows: tuple[int, ...]


_BODIES: Mapping[BodyKind, _Body] = {
    "sedan": _Body((0.30, 0.37), (0.040, 0.055), (0.62, 0.74), (0.28, 0.38), (0.04, 0.15), (0.88, 1.0), (2, 3)),
    "hatchback": _Body((0.34, 0.43), (0.040, 0.060), (0.66, 0.80), (0.08, 0.24), (0.02, 0.18), (0.86, 0.98), (2, 3)),
    "wagon": _Body((0.32, 0.38), (0.040, 0.060), (0.68, 0.75), (0.03, 0.08), (0.02, 0.07), (0.88, 0.98), (3,)),
    "coupe": _Body((0.26, 0.32), (0.030, 0.045), (0.56, 0.68), (0.32, 0.42), (0.14, 0.26), (0.84, 0.98), (1, 2)),
    "offroad": _Body((0.42, 0.51), (0.070, 0.105), (0.66, 0.76), (0.03, 0.08), (0.01, 0.05), (0.95, 1.0), (2, 3)),
}
_PILLARS: Mapping[int, tuple[Range, ...]] = {
    1: (),
    2: ((0.36, 0.60),),
    3: ((0.18, 0.30), (0.52, 0.64)),
}


_LOWEST_BUMPER = 0.42
"""As a share of the nose, like `CarModel.bumper`."""
_HIGHEST_SILL = _LOWEST_BUMPER - 0.001
"""Just below the lowest bumper."""


def car_model(rng: np.random.Generator, body: BodyKind | None = None) -> CarModel:
    """Draws one model, of a random kind if `body` is None."""
    kind = _pick(rng, BODY_KINDS) if body is None else body
    row = _BODIES[kind]
    height = rng.uniform(*row.height)
    belt = height * rng.uniform(0.58, 0.68)
    nose = belt * rng.uniform(0.72, 0.95)
    roof_rear = rng.uniform(*row.roof_rear)
    return CarModel(
        body=kind,
        height=height,
        width=rng.uniform(0.36, 0.43),
        clearance=min(rng.uniform(*row.clearance), _HIGHEST_SILL * nose),
        wheel_radius=height * rng.uniform(0.19, 0.25),
        front_axle=rng.uniform(0.78, 0.84),
        rear_axle=rng.uniform(0.16, 0.23),
        belt=belt,
        nose=nose,
        cowl=rng.uniform(*row.cowl),
        windscreen_run=rng.uniform(0.05, 0.10) if kind == "offroad" else rng.uniform(0.08, 0.17),
        roof_rear=roof_rear,
        deck=max(0.01, roof_rear - rng.uniform(*row.rear_run)),
        tail=belt * rng.uniform(*row.tail),
        roof_drop=rng.uniform(0.0, 0.025),
        pillars=tuple(rng.uniform(*bounds) for bounds in _PILLARS[_pick(rng, row.windows)]),
        pillar_width=rng.uniform(0.012, 0.045),
        lamp=_pick(rng, get_args(LampShape)),
        lamp_size=rng.uniform(0.75, 1.25),
        grille=_pick(rng, get_args(GrilleKind)),
        tail_lamp=_pick(rng, get_args(TailShape)),
        hub=_pick(rng, get_args(HubKind)),
        spokes=int(rng.integers(3, 8)),
        hub_size=rng.uniform(0.5, 0.8),
        dark_bumper=bool(rng.random() < 0.5),
        bumper=rng.uniform(_LOWEST_BUMPER, 0.60),
        cladding=rng.uniform(0.03, 0.07) if rng.random() < 0.4 else 0.0,
        moulding=rng.uniform(0.55, 0.8) if rng.random() < 0.65 else 0.0,
        moulding_width=rng.uniform(0.012, 0.035),
        moulding_tone=_pick(rng, TONES),
        roof_tone=_pick(rng, TONES),
        spoiler=_pick(rng, get_args(SpoilerKind)),
        roof_rails=bool(rng.random() < (0.1 if kind in ("sedan", "coupe") else 0.4)),
    )


def car_models(count: int, *, family: int) -> tuple[CarModel, ...]:
    """The first `count` models of a family. Model i depends only on (family, i); kinds of body take turns."""
    return tuple(car_model(np.random.default_rng((family, i)), BODY_KINDS[i % len(BODY_KINDS)]) for i in range(count))


def _pick(rng: np.random.Generator, options: tuple[T, ...]) -> T:
    return options[int(rng.integers(len(options)))]
