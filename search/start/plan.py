"""Decides what an experiment file for a data folder says: backbones, sizes, stages, trials, and the time. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from carcls.catalog import BACKBONES
from carcls.inspection.folder_check import suggested_fraction
from carcls.inspection.weights_at_hand import WeightsAtHand
from search.bench.rates import Rates
from search.bench.reference import RATES, Machine
from search.bench.results import Bench
from search.errors import StartError
from search.start.recipe import Recipe, recipe_for
from search.start.survey import Findings

Preset = Literal["quick", "medium", "best"]
Name = tuple[str, float]
"""Backbone and alpha."""

SAMPLE: Name = ("MobileNetV2", 0.35)
"""The backbone whose weights are in the package."""
_SAMPLE_PX = 96
"""The size that they were trained at."""
_WANTED: dict[tuple[Preset, bool], tuple[Name, ...]] = {
    ("quick", False): (("MobileNetV2", 1.0),),
    ("medium", False): (("MobileNetV2", 1.0), ("EfficientNetB0", 1.0)),
    ("best", False): (("EfficientNetB0", 1.0), ("EfficientNetV2B0", 1.0), ("MobileNetV2", 1.0)),
    ("quick", True): (("EfficientNetV2B0", 1.0),),
    ("medium", True): (("EfficientNetB3", 1.0), ("EfficientNetV2B0", 1.0)),
    ("best", True): (("EfficientNetB3", 1.0), ("Xception", 1.0), ("EfficientNetV2S", 1.0)),
}
"""Backbones to download, by preset and whether there is a GPU."""
_PX: dict[tuple[Preset, bool], tuple[int, int]] = {
    ("quick", False): (128, 160),
    ("medium", False): (160, 224),
    ("best", False): (192, 256),
    ("quick", True): (224, 224),
    ("medium", True): (224, 300),
    ("best", True): (300, 384),
}
"""Side of the search and of the final training in px."""
_LEAST_PX = 64
"""No search tries a smaller side, unless the photos are smaller."""
_HOURS: dict[Preset, float] = {"quick": 0.1, "medium": 1.0, "best": 6.0}
"""Limit of the search, which is at most half of the whole."""
_AMPLE, _FEWEST_AMPLE, _MOST_AMPLE = 10, 64, 1_000
"""Trials of a run that its hours end: so many times those that fit by the estimate, which may be far too slow. The
number still ends a search by the same file without hours."""
_TRIALS: dict[Preset, tuple[int, int]] = {"quick": (3, 8), "medium": (6, 32), "best": (8, 64)}
"""Fewest and most trials."""
_BACKBONES: dict[Preset, int] = {"quick": 1, "medium": 2, "best": 3}
_FOLDS: dict[Preset, int] = {"quick": 1, "medium": 1, "best": 4}
_EPOCHS: dict[Preset, tuple[int, int, int]] = {"quick": (3, 2, 3), "medium": (4, 4, 6), "best": (5, 5, 8)}
"""Epochs of the stages head, half and full."""
_FINAL_EPOCHS: dict[Preset, int] = {"quick": 8, "medium": 14, "best": 20}
"""Epochs of the last stage of the final training."""
_MANY_VIEWS, _FEW_VIEWS = 4, 2
"""Kept views of a photo, by whether the head has epochs to use them."""
_STEPS = 20
"""Optimizer steps that an epoch should have at least, by smaller batches."""
_CPU_TRIAL_CPUS = 4
"""As `search.on_ray.cluster.nodes` gives a trial without a GPU."""
_STAGE_S = 3.0
"""Seconds to start a stage besides its trace."""
_START_S = 25.0
"""Seconds to start a search, and again to start and score a final training."""
_RUNG_SHARE = 0.55
"""Share of its full length that a trial trains on average, since weak ones stop."""
_SPREAD = 2.0
"""The estimate's upper end over its lower end."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One backbone of the search."""

    backbone: str
    alpha: float
    weights: str
    """As in an experiment file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an experiment file needs."""

    preset: Preset
    backbones: tuple[Chosen, ...]
    image_size_px: int
    smaller_size_px: int | None
    """The search's other side, which is quicker; None: every trial trains at `image_size_px`."""
    final_size_px: int
    batch_size: int
    recipe: Recipe
    epochs: tuple[int, int, int]
    """Of the stages head, half and full."""
    views: int
    """Augmented views of each photo, whose features are kept while the backbone is frozen."""
    final_epochs: int
    folds: int
    validation_fraction: float
    class_balance: bool
    trials: int
    search_hours: float | None
    """Limit of the search; None for `run_hours`."""
    run_hours: float | None
    """Hours from photos to submission that `carsearch run --hours` divides; None without them."""
    cpus_per_trial: int | None
    """None for the default, with GPUs."""
    search_s: float
    """Expected length of the search, in seconds; with `run_hours` its plan decides instead."""
    final_s: float
    """Of the final training and the submission."""
    warning: str
    """What limits the result, or an empty text."""
    is_measured: bool
    """Whether the times follow from measurements of this machine."""

    @property
    def total_s(self) -> tuple[float, float]:
        """Expected seconds from photos to submission: lower and upper end."""
        if self.run_hours is not None:
            return 3600 * self.run_hours, 3600 * self.run_hours
        middle = self.search_s + self.final_s
        return middle / math.sqrt(_SPREAD), middle * math.sqrt(_SPREAD)


def preset_for(run_hours: float | None) -> Preset:
    """The longest preset whose search takes at most half of a run's hours; the shortest without any."""
    fitting: list[Preset] = [one for one, hours in _HOURS.items() if run_hours is not None and hours <= run_hours / 2]
    return fitting[-1] if fitting else "quick"


def make_plan(found: Findings, preset: Preset, bench: Bench | None = None, *, run_hours: float | None = None) -> Plan:
    """The plan for these photos on this machine. Raises StartError if the weights given fit nothing known.

    bench: measurements of this machine, or None: times follow from the table of reference. run_hours: of a run that
    ends the search by them, as a rule before its number of trials does; None for the preset's limits.
    """
    chosen, warning = _choose(found, preset)
    machine = Machine(cpus=_trial_cpus(found), gpu=found.gpus > 0)
    search_px, final_px = _sizes(found, preset, chosen)
    fraction = suggested_fraction(found.photos)
    train, validate = round(found.photos * (1 - fraction)), round(found.photos * fraction)
    recipe = recipe_for(found.photos, is_pretrained=chosen[0].weights != "sample")
    head, half, full = _EPOCHS[preset]
    head = recipe.head_epochs or head
    views = _MANY_VIEWS if head >= _MANY_VIEWS else _FEW_VIEWS
    # While the backbone is frozen, an epoch computes the features of a view that is not kept yet.
    passes = min(head, views)
    stages = ((0.0, passes), (0.5, half), (1.0, full))
    at_once = found.gpus or max(1, found.cpus // machine.cpus)
    rates = Rates(machine, at_once=1 if found.gpus else at_once, bench=bench)
    trial_s = max(_training_s(one, stages, search_px, (train, validate), rates) for one in chosen)
    fewest, most = _TRIALS[preset] if run_hours is None else (_FEWEST_AMPLE, _MOST_AMPLE)
    hours = _HOURS[preset] if run_hours is None else _AMPLE * run_hours
    affordable = int(hours * 3600 * at_once / (trial_s * _RUNG_SHARE))
    trials = min(most, max(fewest, affordable))
    search_s = min(hours * 3600, trials * trial_s * _RUNG_SHARE / at_once) + _START_S
    folds = _FOLDS[preset] if found.photos < 20_000 else 1
    final_passes = passes if recipe.is_pinned else head
    final_stages = ((0.0, final_passes), (0.5, half), (1.0, _FINAL_EPOCHS[preset]))
    one_s = max(_training_s(one, final_stages, final_px, (train, validate), rates) for one in chosen)
    slowest = chosen[0]
    predict_s = 2 * found.to_predict / rates.forward_images_per_s(slowest.backbone, slowest.alpha, px=final_px)
    return Plan(
        preset=preset,
        backbones=chosen,
        image_size_px=search_px,
        smaller_size_px=None if preset == "quick" else _smaller_px(search_px, chosen),
        final_size_px=final_px,
        batch_size=min(_batch_size(train), recipe.most_batch_size),
        recipe=recipe,
        epochs=(head, half, full),
        views=views,
        final_epochs=_FINAL_EPOCHS[preset],
        folds=folds,
        validation_fraction=fraction,
        class_balance=found.largest_class > 5 * found.smallest_class,
        trials=trials,
        search_hours=hours if run_hours is None else None,
        run_hours=run_hours,
        cpus_per_trial=None if found.gpus else machine.cpus,
        search_s=search_s,
        final_s=one_s * math.ceil(folds / at_once) + predict_s + _START_S,
        warning=warning,
        is_measured=rates.is_measured,
    )


def _choose(found: Findings, preset: Preset) -> tuple[tuple[Chosen, ...], str]:
    """The backbones, the preferred one first, and a warning."""
    wanted = _WANTED[(preset, found.gpus > 0)]
    known = [one for one in found.weights if (one.backbone, one.alpha) in RATES]
    if known:
        ordered = sorted(known, key=lambda one: _preference(one, wanted, gpu=found.gpus > 0))
        return tuple(Chosen(one.backbone, one.alpha, str(one.path)) for one in ordered[: _BACKBONES[preset]]), ""
    if found.weights:
        names = ", ".join(sorted({one.backbone for one in found.weights}))
        raise StartError(
            f"the weights found are of {names}, for which 'carsearch init' has no recipe: copy a template and set"
            " backbone and weights there ('carsearch init --list')"
        )
    if found.can_download:
        return tuple(Chosen(name, alpha, "imagenet") for name, alpha in wanted), ""
    return (Chosen(*SAMPLE, "sample"),), (
        "no ImageNet weights are on this machine, and their server does not answer: the small weights of the package"
        " are used, which were trained on drawn cars and are far weaker on photos. Give others with '--weights PATH'"
    )


def _preference(one: WeightsAtHand, wanted: Sequence[Name], *, gpu: bool) -> tuple[int, float]:
    """Wanted backbones first; then the slower, which are better, on a GPU and the faster ones on CPUs."""
    name = (one.backbone, one.alpha)
    rate = RATES[name].train
    return (wanted.index(name) if name in wanted else len(wanted), rate if gpu else abs(math.log(rate / 34)))


def _sizes(found: Findings, preset: Preset, chosen: Sequence[Chosen]) -> tuple[int, int]:
    """Sides of search and final training; no larger than the photos."""
    if chosen[0].weights == "sample":
        return _SAMPLE_PX, _SAMPLE_PX
    smallest = max(BACKBONES[one.backbone].min_size_px for one in chosen)
    there = max(32 * (found.side_px // 32), 32, 32 * math.ceil(smallest / 32))
    search_px, final_px = _PX[(preset, found.gpus > 0)]
    return min(search_px, there), min(final_px, there)


def _smaller_px(px: int, chosen: Sequence[Chosen]) -> int | None:
    """About three quarters of a side, or None if that is too small for one of the backbones, or to tell cars apart."""
    smaller = 32 * (px * 3 // 4 // 32)
    least = max(_LEAST_PX, *(BACKBONES[one.backbone].min_size_px for one in chosen))
    return smaller if least <= smaller < px else None


def _batch_size(train_photos: int) -> int:
    """32, or 16 or 8 for so few photos that an epoch would have too few steps."""
    return next((size for size in (32, 16) if train_photos >= _STEPS * size), 8)


def _trial_cpus(found: Findings) -> int:
    """Cores of a trial: one on a small machine, so that several trials run at once."""
    if found.gpus:
        return max(1, found.cpus // found.gpus)
    return 1 if found.cpus <= _CPU_TRIAL_CPUS else _CPU_TRIAL_CPUS


def _training_s(
    one: Chosen, stages: Sequence[tuple[float, int]], px: int, photos: tuple[int, int], rates: Rates
) -> float:
    """Seconds of one training. stages: share of unfrozen blocks and epochs. photos: to train and to validate."""
    train, validate = photos
    forward = rates.forward_images_per_s(one.backbone, one.alpha, px=px)
    seconds = 0.0
    for unfreeze, epochs in stages:
        rate = rates.train_images_per_s(one.backbone, one.alpha, px=px, unfreeze=unfreeze)
        seconds += epochs * (train / rate + validate / forward)
        seconds += rates.trace_s(one.backbone, one.alpha) + _STAGE_S
    return seconds
