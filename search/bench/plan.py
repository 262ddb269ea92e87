"""Decides what `carsearch bench` measures next. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from carcls.catalog import KNOWN_BACKBONES, nearest_sides
from carcls.config import Precision
from search.bench.results import Feeding, Measured, Training

_GAIN = 1.05
"""A larger batch must be so many times as fast as the next smaller one for an even larger one to be tried."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to measure, the most important value of each first."""

    models: tuple[tuple[str, float], ...]
    """Backbones with their alpha."""
    sizes: tuple[int, ...]
    precisions: tuple[Precision, ...]
    batches: tuple[int, ...]
    at_once: tuple[int, ...]
    """Numbers of trainings that share the GPU, or the cores."""
    processes: tuple[int, ...]
    """Numbers of processes that prepare batches."""
    policy: str
    threads: int
    """CPU threads of a training that runs alone."""


def next_measurement(wishes: Wishes, done: Sequence[Measured], *, left_s: float) -> Training | Feeding | None:
    """The most important measurement that is not done and is expected to end in time, or None."""
    known = {one.what for one in done}
    candidates = (one for one in _in_order(wishes, done) if one not in known)
    return next((one for one in candidates if left_s > 0 and expected_s(one, done) <= left_s), None)


def expected_s(what: Training | Feeding, done: Sequence[Measured]) -> float:
    """Seconds that a measurement will take: as the longest one of its kind, by its area and number of trainings."""
    if isinstance(what, Feeding):
        return max((one.seconds for one in done if isinstance(one.what, Feeding)), default=0.0)
    alike = [
        (one.seconds * max(1.0, (what.image_size / one.what.image_size) ** 2) * what.at_once / one.what.at_once)
        for one in done
        if isinstance(one.what, Training) and one.what.backbone == what.backbone
    ]
    others = [one.seconds for one in done if isinstance(one.what, Training)]
    return max(alike or others, default=0.0)


def _in_order(wishes: Wishes, done: Sequence[Measured]) -> Iterator[Training | Feeding]:
    """Each backbone once; the input; trainings at once; other sizes and precisions; other batches."""
    sizes = {
        model: [px for px in wishes.sizes if nearest_sides(KNOWN_BACKBONES[model[0]], px) == (px,)]
        for model in wishes.models
    }
    models = [model for model in wishes.models if sizes[model]]
    firsts = [_training(wishes, model, sizes[model][0], wishes.precisions[0]) for model in models]
    yield from firsts
    yield from (Feeding(wishes.sizes[0], wishes.policy, count) for count in wishes.processes)
    for count in wishes.at_once[1:] if firsts else ():
        yield replace(firsts[0], at_once=count, threads=max(1, wishes.threads // count))
    plain = [
        _training(wishes, model, px, precision)
        for px_number, precision in product(range(len(wishes.sizes)), wishes.precisions)
        for model in models
        for px in sizes[model][px_number : px_number + 1]
    ]
    yield from plain
    for one in plain:
        yield from _other_batches(one, wishes, done)


def _training(wishes: Wishes, model: tuple[str, float], px: int, precision: Precision) -> Training:
    return Training(*model, px, precision, wishes.batches[0], threads=wishes.threads)


def _other_batches(first: Training, wishes: Wishes, done: Sequence[Measured]) -> Iterator[Training]:
    """Larger batches while they are faster and fit; halves of the smallest one until it fits."""
    found = {
        one.what.batch_size: one
        for one in done
        if isinstance(one.what, Training) and replace(one.what, batch_size=first.batch_size) == first
    }
    if found and all(one.state == "out_of_memory" for one in found.values()):
        if min(found) > 1:
            yield replace(first, batch_size=min(found) // 2)
        return
    before = found.get(first.batch_size)
    for size in wishes.batches[1:]:
        if before is None or before.state != "measured":
            return
        yield replace(first, batch_size=size)
        now = found.get(size)
        if now is None or now.images_per_s < _GAIN * before.images_per_s:
            return
        before = now
