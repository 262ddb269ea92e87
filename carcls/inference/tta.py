"""Test-time augmentation: views of a photo -> averaged probabilities; chosen on validation, refused where it hurts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.catalog import nearest_name
from carcls.errors import ConfigError
from carcls.input.pixels import Pixels as StoredPixels
from carcls.scoring.metrics import SMALLEST_PROBABILITY, accuracy

if TYPE_CHECKING:
    import keras

Pixels = NDArray[np.uint8]
"""(n, side, side, 3) RGB, 0..255."""
ByView = Mapping[str, NDArray[np.floating]]
"""Of each view: probabilities (n, classes) of the same photos in the same order."""

PLAIN = "plain"
ZOOM_KEEPS = 0.9
"""Share of the side that the zoomed views show."""
SHIFT = 0.05
"""Of the side; what comes in from outside is the border's reflection."""
BRIGHTNESS = 1.15
"""Factor of `brighter`; `darker` divides by it."""

CROSS_FIT_PARTS = 5
RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 100  # 12 MB of indices for 15,561 photos


def _flip(pixels: Pixels) -> Pixels:
    return pixels[:, :, ::-1]


def _zoom(pixels: Pixels) -> Pixels:
    side = pixels.shape[1]
    margin = max(1, round(side * (1.0 - ZOOM_KEEPS) / 2))
    zoomed = np.empty(pixels.shape, np.uint8)
    for photo, target in zip(pixels, zoomed, strict=True):
        centre = np.ascontiguousarray(photo[margin : side - margin, margin : side - margin])
        cv2.resize(centre, (side, side), dst=target, interpolation=cv2.INTER_LINEAR)
    return zoomed


def _shift(pixels: Pixels, *, left: bool) -> Pixels:
    side = pixels.shape[2]
    offset = max(1, round(side * SHIFT))
    columns = np.pad(np.arange(side), offset, mode="reflect")
    return pixels[:, :, columns[2 * offset :] if left else columns[:side]]


def _brighten(pixels: Pixels, factor: float) -> Pixels:
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return table[pixels]


VIEWS: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {
        PLAIN: lambda pixels: pixels,
        "flip": _flip,
        "zoom": _zoom,
        "zoom_flip": lambda pixels: _flip(_zoom(pixels)),
        "shift_left": lambda pixels: _shift(pixels, left=True),
        "shift_right": lambda pixels: _shift(pixels, left=False),
        "brighter": lambda pixels: _brighten(pixels, BRIGHTNESS),
        "darker": lambda pixels: _brighten(pixels, 1.0 / BRIGHTNESS),
    }
)
"""Batches (n, side, side, 3) uint8 -> the same shape and dtype; none writes to its argument. Nothing turns a photo by
90 degrees: no car stands so, and averaging such views costs most of the accuracy."""


def check_views(names: Sequence[str]) -> None:
    """Raises ConfigError where a view is unknown, or none is named."""
    if not names:
        raise ConfigError(f"tta: no view named; expected at least one of {', '.join(VIEWS)}")
    for name in names:
        if name not in VIEWS:
            near = nearest_name(name, list(VIEWS))
            hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(VIEWS)}"
            raise ConfigError(f"tta: unknown view {name!r}; {hint}")


def predict_view(model: "keras.Model", pixels: StoredPixels, view: str, *, batch_size: int) -> NDArray[np.float32]:
    """Probabilities (n, classes) float32 of one view of all photos.

    `pixels` (n, side, side, 3) may be a read-only memory map larger than memory: it is read in slices of `batch_size`.
    The last slice is filled up, so that the model is traced for one shape only. Raises ConfigError for an unknown view.
    """
    check_views([view])
    transform = VIEWS[view]
    count = min(batch_size, len(pixels))
    predicted = [np.zeros((0, model.output_shape[-1]), np.float32)]
    for start in range(0, len(pixels), batch_size):
        batch = np.asarray(pixels[start : start + batch_size])
        probabilities = model.predict_on_batch(transform(_filled(batch, count)))
        predicted.append(np.asarray(probabilities, np.float32)[: len(batch)])
    return np.concatenate(predicted)


def _filled(batch: Pixels, count: int) -> Pixels:
    missing = count - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def average(by_view: ByView, views: Sequence[str]) -> NDArray[np.float32]:
    """Mean over `views` of their (n, classes) probabilities, float32.

    Summed in float64, so that the mean of equal views is that view to the bit.
    """
    total = np.zeros(np.shape(by_view[views[0]]), np.float64)
    for view in views:
        total += by_view[view]
    return (total / len(views)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class TtaChoice:
    """Which views to average, and what the validation photos say about it."""

    views: tuple[str, ...]
    """`plain` first; `plain` alone where averaging is not worth it."""
    plain_log_loss: float
    tta_log_loss: float
    """Cross-fitted, as `tta_accuracy`: each photo scored by views that were chosen without it."""
    plain_accuracy: float
    tta_accuracy: float
    interval: tuple[float, float]
    """Central bootstrap interval of the mean log-loss saved per photo, in nats; above 0: averaging is better."""
    helps: bool


def choose_views(by_view: ByView, labels: NDArray[np.integer], *, confidence: float, seed: int) -> TtaChoice:
    """Greedy forward selection of views on log-loss, kept only if held-out evidence says that it helps; pure.

    Views chosen on some photos look better on these very photos than on new ones: the best of many noisy averages is
    partly the luckiest. So the evidence is cross-fitted: the photos are cut into five parts, the views chosen on four
    are scored on the fifth, and a paired bootstrap over all photos (Efron 1979: 2000 resamples, plain and TTA on the
    same photos) gives the interval. Against one half to choose and one to test, every photo tests, which doubles the
    evidence. What is judged is thus the way of choosing, with a fifth fewer photos than the final choice has, which
    errs towards `plain`; the parts share photos, which makes the interval a little too narrow. Averaging is kept when
    the whole interval lies above 0 and cross-fitted accuracy, the contest's score, is no lower than plain.

    by_view: probabilities (n, classes) per view, `plain` among them. labels: (n,) class indices. confidence: of the
    central interval, in (0, 1). Raises ValueError for shapes that do not match or fewer than two photos.
    """
    _check(by_view, labels, confidence)
    rng = np.random.default_rng(seed)
    candidates = (PLAIN, *(view for view in by_view if view != PLAIN))
    held_out = _cross_fitted(by_view, candidates, labels, rng)
    plain = np.asarray(by_view[PLAIN])
    saved = _log_losses(plain, labels) - _log_losses(held_out, labels)
    interval = _bootstrap_interval(saved, confidence, rng)
    plain_accuracy, tta_accuracy = accuracy(plain, labels), accuracy(held_out, labels)
    better = interval[0] > 0 and tta_accuracy >= plain_accuracy
    views = _forward(by_view, candidates, labels) if better else (PLAIN,)
    return TtaChoice(
        views=views,
        plain_log_loss=float(_log_losses(plain, labels).mean()),
        tta_log_loss=float(_log_losses(held_out, labels).mean()),
        plain_accuracy=plain_accuracy,
        tta_accuracy=tta_accuracy,
        interval=interval,
        helps=len(views) > 1,
    )


def _check(by_view: ByView, labels: NDArray[np.integer], confidence: float) -> None:
    if PLAIN not in by_view:
        raise ValueError(f"by_view: needs the {PLAIN!r} view, found {', '.join(by_view) or 'none'}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: expected a number between 0 and 1, found {confidence}")
    if len(labels) < 2:
        raise ValueError(f"labels: choosing views needs at least 2 photos, found {len(labels)}")
    shape = (len(labels), np.shape(by_view[PLAIN])[-1])
    for view, probabilities in by_view.items():
        if np.shape(probabilities) != shape:
            raise ValueError(f"by_view[{view!r}]: expected shape {shape}, found {np.shape(probabilities)}")


def _log_losses(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n,) nats, one a photo; their mean is `metrics.log_loss`."""
    of_label = np.asarray(probabilities)[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(of_label, SMALLEST_PROBABILITY, 1.0))


def _forward(by_view: ByView, candidates: Sequence[str], labels: NDArray[np.integer]) -> tuple[str, ...]:
    """`plain`, then again and again the view that lowers the average's log-loss most, until none does."""
    chosen, left = [candidates[0]], list(candidates[1:])

    def loss(views: Sequence[str]) -> float:
        return float(_log_losses(average(by_view, views), labels).mean())

    best = loss(chosen)
    while left:
        scores = [loss([*chosen, view]) for view in left]
        position = int(np.argmin(scores))
        if not scores[position] < best:
            break
        best = scores[position]
        chosen.append(left.pop(position))
    return tuple(chosen)


def _cross_fitted(
    by_view: ByView, candidates: Sequence[str], labels: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Probabilities (n, classes): each photo's under the views chosen on the other parts."""
    parts = np.array_split(rng.permutation(len(labels)), min(CROSS_FIT_PARTS, len(labels)))
    held_out = np.empty_like(by_view[PLAIN], dtype=np.float32)
    for part in parts:
        others = np.setdiff1d(np.arange(len(labels)), part)
        views = _forward({view: by_view[view][others] for view in candidates}, candidates, labels[others])
        held_out[part] = average({view: by_view[view][part] for view in views}, views)
    return held_out


def _bootstrap_interval(
    differences: NDArray[np.float64], confidence: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Central percentile interval of the mean; resampling differences keeps each photo's pair together."""
    size = (_RESAMPLES_AT_ONCE, len(differences))
    means = np.concatenate(
        [differences[rng.integers(len(differences), size=size)].mean(axis=1) for _ in range(RESAMPLES // size[0])]
    )
    low, high = np.quantile(means, [(1.0 - confidence) / 2, (1.0 + confidence) / 2])
    return float(low), float(high)
