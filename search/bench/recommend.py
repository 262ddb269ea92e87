"""Recommends batch sizes, a trial's share of the machine, and its cores, from measurements. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from search.bench.results import Bench, Measured, Training

_NEAR = 0.95
"""What is this close to the best rate counts as equally fast, and the cheaper choice wins."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The batch of one backbone, size and precision."""

    name: str
    """Backbone, size and precision, for people."""
    batch_size: int | None
    """The smallest one that is about as fast as any; None if none fits."""
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Share:
    """How many trials should run at once on one GPU, or on all cores."""

    at_once: int
    gain: float
    """Images per second of all of them, over those of one trial alone."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Processes that prepare the batches of one trial on a GPU."""

    processes: int
    views_per_s: float
    wanted_per_s: float
    """What the fastest training measured takes."""

    @property
    def is_enough(self) -> bool:
        """False if photos limit that training even with the most processes measured."""
        return self.views_per_s >= self.wanted_per_s


@dataclass(frozen=True, slots=True)
class Advice:
    """All recommendations. A field is None if too little was measured for it."""

    batches: tuple[Batch, ...]
    share: Share | None
    workers: Workers | None
    gpus: int
    cores: int

    @property
    def gpus_per_trial(self) -> float | None:
        """For `search.resources`; None without a GPU or a measurement."""
        return 1 / self.share.at_once if self.gpus and self.share else None

    @property
    def cpus_per_trial(self) -> int | None:
        """For `search.resources`; None without a measurement."""
        if self.gpus:
            return None if self.workers is None else self.workers.processes
        return None if self.share is None else max(1, self.cores // self.share.at_once)

    def lines(self) -> tuple[str, ...]:
        """For people."""
        return (*_resource_lines(self), *(_batch_line(one) for one in self.batches))


def advise(bench: Bench) -> Advice:
    """Recommendations for the machine."""
    share = best_share(bench.found)
    return Advice(best_batches(bench.found), share, best_workers(bench, share), bench.gpus, bench.cores)


def best_batches(found: Sequence[Measured]) -> tuple[Batch, ...]:
    """One for each backbone, size and precision, in order of measurement. Trainings at once do not count."""
    groups: dict[str, list[tuple[int, Measured]]] = defaultdict(list)
    for one in found:
        if isinstance(one.what, Training) and one.what.at_once == 1 and one.state in ("measured", "out_of_memory"):
            name = one.what.name.rpartition(", batch ")[0]
            groups[name].append((one.what.batch_size, one))
    return tuple(_best_batch(name, rows) for name, rows in groups.items())


def _best_batch(name: str, rows: Sequence[tuple[int, Measured]]) -> Batch:
    fitting = {size: one.images_per_s for size, one in rows if one.state == "measured"}
    if not fitting:
        return Batch(name, None, 0.0)
    fastest = max(fitting.values())
    size = min(size for size, rate in fitting.items() if rate >= _NEAR * fastest)
    return Batch(name, size, fitting[size])


def best_share(found: Sequence[Measured]) -> Share | None:
    """The fewest trials at once that are about as fast as any number; None if only one at once was measured."""
    rates: dict[tuple[object, ...], dict[int, float]] = defaultdict(dict)
    for one in found:
        if isinstance(one.what, Training) and one.state == "measured":
            rates[one.what.configuration][one.what.at_once] = one.what.at_once * one.images_per_s
    # Trainings at once are measured with one configuration only.
    several = next((row for row in rates.values() if 1 in row and len(row) > 1), None)
    if several is None:
        return None
    fastest = max(several.values())
    count = min(count for count, rate in several.items() if rate >= _NEAR * fastest)
    return Share(count, several[count] / several[1])


def best_workers(bench: Bench, share: Share | None) -> Workers | None:
    """The fewest processes that keep up with the fastest training of a trial; None without a GPU or a measurement.

    On a CPU, the same cores train and prepare photos.
    """
    trainings, feedings = bench.trainings(), bench.feedings()
    if not bench.gpus or not trainings or not feedings:
        return None
    at_once = share.at_once if share is not None else 1
    rates = [one.images_per_s for what, one in trainings if what.at_once == at_once]
    wanted = max(rates or [one.images_per_s / at_once for _, one in trainings])
    by_count = sorted((what.processes, one.images_per_s) for what, one in feedings)
    enough = next(((count, views) for count, views in by_count if views >= wanted), None)
    count, views = enough or max(by_count, key=lambda row: row[1])
    return Workers(count, views, wanted)


def _resource_lines(advice: Advice) -> list[str]:
    wishes = {"gpus_per_trial": advice.gpus_per_trial, "cpus_per_trial": advice.cpus_per_trial}
    known = ", ".join(f"{name}: {value:g}" for name, value in wishes.items() if value is not None)
    lines = [f"recommended: search.resources={{{known}}}"] if known else []
    if advice.share is not None:
        times = (
            f"{advice.share.gain:.2f} times as fast as one alone" if advice.share.at_once > 1 else "no slower than more"
        )
        place = "on one GPU" if advice.gpus else f"on {advice.cores} cores"
        lines.append(f"{_trials(advice.share.at_once)} at once {place}: {times}")
    if advice.workers is not None:
        one = advice.workers
        verdict = "enough for" if one.is_enough else "LESS than"
        lines.append(
            f"{one.processes} processes prepare {one.views_per_s:,.0f} photos/s, {verdict} the fastest training"
            f" measured ({one.wanted_per_s:,.0f}/s)"
        )
    return lines


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _batch_line(one: Batch) -> str:
    if one.batch_size is None:
        return f"{one.name}: no batch measured fits in memory"
    return f"{one.name}: batch {one.batch_size} ({one.images_per_s:,.3g} images/s)"
