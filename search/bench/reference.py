"""How long trainings take: images per second of the backbones that `init` knows, scaled to another machine. Pure.

The rates are of two CPU cores. Those marked as measured are from this project's own machine; the others follow from the
multiply-adds in the table of keras.applications, relative to the nearest measured backbone of their family.
"""

from dataclasses import dataclass

_REFERENCE_CPUS = 2
_REFERENCE_PX = 224
_CPU_GAIN = 0.75
"""Exponent: with twice the cores, training is 1.7 times as fast."""
_GPU_RATE = 60.0
"""A common GPU (T4) trains this many times as fast as two CPU cores. From published rates; not measured here."""
_MAX_GPU_IMAGES_PER_S = 1200.0
"""What decoding and copying allow."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Images per second on two CPU cores at 224 px."""

    train: float
    """Everything trains."""
    forward: float
    trace_s: float
    """Seconds before the first step of a stage."""


RATES: dict[tuple[str, float], Rate] = {
    ("MobileNet", 0.25): Rate(105, 340, 1.5),
    ("MobileNet", 0.75): Rate(33, 150, 2.0),  # measured
    ("MobileNet", 1.0): Rate(22, 100, 2.0),
    ("MobileNetV2", 0.35): Rate(58, 300, 2.5),  # measured
    ("MobileNetV2", 1.0): Rate(34, 140, 3.0),  # measured
    ("EfficientNetB0", 1.0): Rate(16.5, 114, 9.0),  # measured
    ("EfficientNetB3", 1.0): Rate(6.5, 45, 20.0),
    ("EfficientNetV2B0", 1.0): Rate(14, 90, 9.0),
    ("EfficientNetV2S", 1.0): Rate(3.5, 22, 30.0),
    ("InceptionV3", 1.0): Rate(18, 33, 10.0),  # measured
    ("Xception", 1.0): Rate(8.8, 34, 8.0),  # measured
    ("ConvNeXtTiny", 1.0): Rate(5.0, 18, 15.0),
}
"""By backbone and alpha."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one trial trains on."""

    cpus: int
    gpu: bool


def train_images_per_s(backbone: str, alpha: float, *, px: int, unfreeze: float, machine: Machine) -> float:
    """Training images per second. A frozen block needs a forward pass only."""
    rate = RATES[(backbone, alpha)]
    seconds = 1 / rate.forward + unfreeze * max(0.0, 1 / rate.train - 1 / rate.forward)
    return _scaled(1 / seconds, px, machine)


def forward_images_per_s(backbone: str, alpha: float, *, px: int, machine: Machine) -> float:
    """Predicted images per second."""
    return _scaled(RATES[(backbone, alpha)].forward, px, machine)


def _scaled(rate: float, px: int, machine: Machine) -> float:
    at_px = rate * (_REFERENCE_PX / px) ** 2
    if machine.gpu:
        return min(at_px * _GPU_RATE, _MAX_GPU_IMAGES_PER_S)
    return at_px * (machine.cpus / _REFERENCE_CPUS) ** _CPU_GAIN
