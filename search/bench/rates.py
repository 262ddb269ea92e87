"""Images per second of any configuration: measured on this machine, else scaled from the table of reference. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from carcls.config import Precision
from search.bench.reference import RATES, Machine, forward_images_per_s, train_images_per_s
from search.bench.results import Bench, Feeding, Measured, Training

_CPU_GAIN = 0.75
"""Exponent of the threads, as in the table of reference, where their effect was not measured."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a configuration, all of whose blocks train."""

    train_s: float
    """For each photo and epoch."""
    forward_s: float
    """For each photo that is only predicted."""
    compile_s: float
    """For each stage."""
    epoch_s: float
    """For each epoch, beside its steps."""

    def photo_s(self, unfreeze: float) -> float:
        """Seconds of a training photo if this share of the blocks trains. A frozen block needs a forward pass only."""
        return self.forward_s + unfreeze * max(0.0, self.train_s - self.forward_s)


@dataclass(frozen=True, slots=True)
class Rates:
    """What trials on this machine take."""

    machine: Machine
    """What one trial trains on."""
    at_once: int = 1
    """Trials that share the GPU, or that run on the cores at the same time."""
    bench: Bench | None = None
    """Measurements of this machine, or None: the table of reference decides everything."""

    @property
    def is_measured(self) -> bool:
        """Whether any training was measured on this machine."""
        return self.bench is not None and bool(self.bench.trainings())

    def cost(
        self, backbone: str, alpha: float, *, px: float, batch_size: int = 32, precision: Precision = "auto"
    ) -> Cost | None:
        """The cost at a side in px (the root of the area of a rectangle); None for a backbone of which nothing is
        known."""
        alone = [row for row in self.bench.trainings() if row[0].at_once == 1] if self.bench is not None else []
        own = [row for row in alone if (row[0].backbone, row[0].alpha) == (backbone, alpha)]
        if own:
            what, found = min(own, key=lambda row: _distance(row[0], px, batch_size, precision))
            return self._scaled(what, found, px)
        if (backbone, alpha) not in RATES:
            return None
        known = self._reference(backbone, alpha, px)
        slower = [self._slowdown(what, found) for what, found in alone if (what.backbone, what.alpha) in RATES]
        factor = median(slower) if slower else 1.0
        return Cost(known.train_s * factor, known.forward_s * factor, known.compile_s * factor, 0.0)

    def train_images_per_s(self, backbone: str, alpha: float, *, px: int, unfreeze: float) -> float:
        """Training images per second. Raises KeyError for a backbone of which nothing is known."""
        if not self.is_measured:
            return train_images_per_s(backbone, alpha, px=px, unfreeze=unfreeze, machine=self.machine)
        return 1 / self._known(backbone, alpha, px).photo_s(unfreeze)

    def forward_images_per_s(self, backbone: str, alpha: float, *, px: int) -> float:
        """Predicted images per second. Raises KeyError for a backbone of which nothing is known."""
        if not self.is_measured:
            return forward_images_per_s(backbone, alpha, px=px, machine=self.machine)
        return 1 / self._known(backbone, alpha, px).forward_s

    def trace_s(self, backbone: str, alpha: float) -> float:
        """Seconds before the first step of a stage. Raises KeyError for a backbone of which nothing is known."""
        return RATES[(backbone, alpha)].trace_s if not self.is_measured else self._known(backbone, alpha, 224).compile_s

    def view_s(self, px: float) -> float:
        """Seconds of a trial's processes for one augmented photo; 0 if that was not measured."""
        found = _nearest_feeding(self.bench.feedings() if self.bench is not None else [], px, self.machine.cpus)
        if found is None:
            return 0.0
        what, measured = found
        return (px / what.image_size) ** 2 / measured.images_per_s * what.processes / self.machine.cpus

    def decode_s(self) -> float:
        """Seconds of a trial's processes to decode one photo of 640 x 480; 0 if that was not measured."""
        found = self.bench.feedings() if self.bench is not None else []
        return min((what.processes / self.machine.cpus / one.decoded_per_s for what, one in found), default=0.0)

    def _known(self, backbone: str, alpha: float, px: float) -> Cost:
        cost = self.cost(backbone, alpha, px=px)
        if cost is None:
            raise KeyError((backbone, alpha))
        return cost

    def _reference(self, backbone: str, alpha: float, px: float) -> Cost:
        side, machine = max(1, round(px)), self.machine
        return Cost(
            1 / train_images_per_s(backbone, alpha, px=side, unfreeze=1.0, machine=machine),
            1 / forward_images_per_s(backbone, alpha, px=side, machine=machine),
            RATES[(backbone, alpha)].trace_s,
            0.0,
        )

    def _scaled(self, what: Training, found: Measured, px: float) -> Cost:
        factor = (px / what.image_size) ** 2 * self._sharing(what)
        return Cost(factor / found.images_per_s, factor / found.forward_images_per_s, found.compile_s, found.epoch_s)

    def _slowdown(self, what: Training, found: Measured) -> float:
        """How much slower this machine is than the table says."""
        reference = self._reference(what.backbone, what.alpha, what.image_size)
        return self._scaled(what, found, what.image_size).train_s / reference.train_s

    def _sharing(self, alone: Training) -> float:
        """How much slower one of `at_once` trials with the machine's threads is than the measurement of `alone`."""
        if self.at_once > 1 and self.bench is not None:
            single = {what.configuration: one for what, one in self.bench.trainings() if what.at_once == 1}
            for what, one in self.bench.trainings():
                is_this = what.at_once == self.at_once and what.threads == self.machine.cpus
                if is_this and what.configuration in single:
                    return single[what.configuration].images_per_s / one.images_per_s
        if self.machine.gpu:
            return float(self.at_once)
        return (alone.threads / self.machine.cpus) ** _CPU_GAIN


def _distance(what: Training, px: float, batch_size: int, precision: Precision) -> tuple[bool, float, float]:
    """How far a measurement is from what is asked: another precision, size, batch."""
    return (
        what.precision != precision,
        abs(math.log(what.image_size / px)),
        abs(math.log(what.batch_size / batch_size)),
    )


def _nearest_feeding(
    rows: Sequence[tuple[Feeding, Measured]], px: float, processes: int
) -> tuple[Feeding, Measured] | None:
    def distance(row: tuple[Feeding, Measured]) -> tuple[float, float]:
        return abs(math.log(row[0].processes / processes)), abs(math.log(row[0].image_size / px))

    return min(rows, key=distance, default=None)
