"""Which training of a search wins: values by which trials can be ranked, replayed over random searches."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from benchmarks.choice_rules import RULES, SHIPPED, TODAY, shipped_choice
from benchmarks.choice_shrinkage import features, observed, shrunk
from benchmarks.choice_tables import Training, holdout_scores
from benchmarks.harness import table

_SEARCHES = 2_000
_TRIALS = (4, 8, 16)
_SEED = 20_261_128

Value = Callable[[Training], float]


def _best_accuracy(training: Training) -> float:
    return max(one.accuracy - 1e-6 * one.log_loss for one in training.candidates)


def _kept_accuracy(training: Training) -> float:
    kept = shipped_choice(training.candidates)
    return kept.accuracy - 1e-6 * kept.log_loss


SHIPPED_VALUE = "kept weights' scaled log-loss"
VALUES: Mapping[str, Value] = {
    "best epoch's accuracy": _best_accuracy,
    "kept weights' accuracy": _kept_accuracy,
    "best epoch's log-loss": lambda training: -min(one.log_loss for one in training.candidates),
    "kept weights' log-loss": lambda training: -shipped_choice(training.candidates).log_loss,
    "best epoch's scaled log-loss": lambda training: -min(one.scaled.log_loss for one in training.candidates),
    SHIPPED_VALUE: lambda training: -shipped_choice(training.candidates).scaled.log_loss,
}
"""Greater is better."""


def pick_rows(trainings: Sequence[Training]) -> Iterable[str]:
    """A table for each number of trials: what the winners reach on the holdout, and the gain over today's way."""
    pools: dict[tuple[str, str, int], list[Training]] = defaultdict(list)
    for training in trainings:
        pools[(training.photos, training.kind, training.fold)].append(training)
    ways = {f"{value}; {rule}": (value, rule) for value in VALUES for rule in (TODAY, SHIPPED)}
    for trials in _TRIALS:
        usable = {key: pool for key, pool in pools.items() if len(pool) >= trials}
        if not usable:
            continue
        reached = {name: _reached(usable, VALUES[value], rule, trials) for name, (value, rule) in ways.items()}
        todays = reached[next(iter(ways))]
        rows = []
        for name, cells in reached.items():
            gains = cells - todays
            errors = gains.std(axis=0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.full(2, np.nan)
            mean = gains.mean(axis=0)
            accuracy, log_loss = cells.mean(axis=0)
            rows.append(
                (
                    name,
                    f"{100 * accuracy:.1f}",
                    f"{log_loss:.3f}",
                    f"{100 * mean[0]:+.2f}",
                    f"{100 * errors[0]:.2f}",
                    f"{-mean[1]:+.3f}",
                    f"{errors[1]:.3f}",
                )
            )
        yield f"\nthe best of {trials} trials, by value and weights; {len(usable)} cells, {_SEARCHES} searches each"
        yield table(("value; weights", "accuracy", "log-loss", "gain, points", "± s.e.", "gain, nats", "± s.e. "), rows)
        yield _shrinkage_line(usable, reached[f"{SHIPPED_VALUE}; {SHIPPED}"], trials)


def _reached(
    pools: Mapping[tuple[str, str, int], Sequence[Training]], value: Value, rule: str, trials: int
) -> np.ndarray:
    """(cells, 2): mean holdout accuracy and log-loss of the winners. The same searches for every way."""
    cells = []
    for pool in pools.values():
        values = np.array([value(training) for training in pool])
        drawn = _searches(pool, trials)
        cells.append(_winners(pool, rule, drawn, values[drawn]))
    return np.array(cells)


def _shrinkage_line(pools: Mapping[tuple[str, str, int], Sequence[Training]], shipped: np.ndarray, trials: int) -> str:
    """What ranking by shrunk scores gains over the shipped value, on the same searches."""
    cells = []
    for pool in pools.values():
        drawn = _searches(pool, trials)
        scores, variances = observed(pool)
        cells.append(_winners(pool, SHIPPED, drawn, -shrunk(scores[drawn], variances[drawn], features(pool)[drawn])))
    gains = np.array(cells) - shipped
    mean = gains.mean(axis=0)
    error = gains.std(axis=0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.full(2, np.nan)
    return (
        f"{SHIPPED_VALUE}, shrunk towards ridge over the parameters, gains {100 * mean[0]:+.2f} ± {100 * error[0]:.2f}"
        f" points and {-mean[1]:+.4f} ± {error[1]:.4f} nats over itself"
    )


def _searches(pool: Sequence[Training], trials: int) -> np.ndarray:
    """(searches, trials) trainings, by their place."""
    rng = np.random.default_rng((_SEED, trials))
    return np.argsort(rng.random((_SEARCHES, len(pool))), axis=1)[:, :trials]


def _winners(pool: Sequence[Training], rule: str, drawn: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(2,) mean holdout accuracy and log-loss of the trainings with the greatest values (searches, trials)."""
    scores = np.array([holdout_scores(RULES[rule](one), one.holdout_labels) for one in pool])
    return scores[drawn[np.arange(len(drawn)), values.argmax(axis=1)]].mean(axis=0)
