"""The finals: the best trials trained again, whole, with other seeds. Pure functions of plain records.

The best score of many is high by luck as well as by merit; training again draws the luck anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf

from search.experiment.settings import FinalistSettings
from search.policy.records import Rank, TrialRecord, TrialState, searched, trained_s

NO_FINALS = FinalistSettings(count=0)

_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

_MEAN_DIGITS = 9
"""Of a mean accuracy: equal counts of photos are equal whatever their parts were rounded to."""


@dataclass(frozen=True, slots=True)
class DueRepeat:
    """A training that the finals still lack."""

    trial: TrialRecord
    """The finalist."""
    repetition: int
    """Counted from 1."""


@dataclass(frozen=True)
class Finalist:
    """A trial and its repeats."""

    trial: TrialRecord
    repeats: tuple[TrialRecord, ...]
    """By repetition, from 1 on: those of the rounds that are over for all finalists."""

    @cached_property
    def ranks(self) -> tuple[Rank | None, ...]:
        """The value of each repeat. A configuration that could not be trained again gets nothing right; what failed
        for another reason says nothing: None."""
        return tuple(_repeat_rank(repeat, self.trial) for repeat in self.repeats)

    @property
    def selected_accuracy(self) -> float:
        """The trial's own, by which it became a finalist: picked as one of the best, and too high for that reason."""
        return self.trial.best.val_accuracy if self.trial.best else 0.0

    @property
    def repeated_accuracy(self) -> float:
        """Mean of the repeats alone, none of which was picked for its score."""
        return _mean([accuracy for accuracy in self.accuracies if accuracy is not None])

    @property
    def accuracies(self) -> tuple[float | None, ...]:
        """Of each repeat; 0 where it could not be trained, None where a machine failed."""
        return tuple(_repeat_accuracy(repeat) for repeat in self.repeats)

    @property
    def overall_accuracy(self) -> float:
        """Mean over the trial's own and its repeats'."""
        return _mean([self.selected_accuracy, *(one for one in self.accuracies if one is not None)])

    @property
    def repeat_count(self) -> int:
        """How many repeats these means are of."""
        return len(self._valued)

    @property
    def mean_rank(self) -> Rank:
        """Mean over the trial's own value and its repeats': what the winner is chosen by.

        It uses all that is known, and ranks equally many seeds of each; for trials believed alike beforehand their
        order is that of the posterior means, which do not depend on why the first one was looked at.
        """
        return _mean_rank([*([self.trial.best_rank] if self.trial.best_rank else []), *self._valued])

    @cached_property
    def _valued(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank is not None]


def finalists(trials: Sequence[TrialRecord], settings: FinalistSettings) -> list[TrialRecord]:
    """The best `count` of those that had all their stages, ties by lower number; the baseline is with them anyhow,
    and before them."""
    if settings.count == 0:
        return []
    trained = [trial for trial in searched(trials) if trial.state is TrialState.COMPLETE and trial.best_rank]
    ranked = sorted(trained, key=lambda trial: (trial.best_rank, -trial.number), reverse=True)
    baseline = [trial for trial in trained if trial.is_baseline]
    return [*baseline, *(trial for trial in ranked[: settings.count] if not trial.is_baseline)]


def due_repeats(trials: Sequence[TrialRecord], settings: FinalistSettings) -> list[DueRepeat]:
    """Those that were never started, in order: every finalist once, then every one again. Failed ones stay failed.

    In rounds, so that finals which are cut off leave equally many seeds of each.
    """
    chosen = finalists(trials, settings)
    started = {trial.number: len(_repeats_of(trials, trial.number)) for trial in chosen}
    rounds = range(1, settings.seeds + 1)
    return [DueRepeat(trial, number) for number in rounds for trial in chosen if number > started[trial.number]]


def due_s(trials: Sequence[TrialRecord], settings: FinalistSettings) -> float:
    """Seconds of training that the due repeats would take: each as long as its finalist did, and those of finalists
    that are still to be found as long as the others."""
    known = finalists(trials, settings)
    if not known:
        return 0.0
    unknown = max(0, settings.count - sum(not trial.is_baseline for trial in known)) * settings.seeds
    mean_s = fsum(trained_s(trial.reports) for trial in known) / len(known)
    return fsum(trained_s(due.trial.reports) for due in due_repeats(trials, settings)) + unknown * mean_s


def final_standing(trials: Sequence[TrialRecord]) -> tuple[Finalist, ...]:
    """All that were repeated, the best mean first; ties by smaller log-loss, then by lower number.

    As of the last round that is over for all of them; empty before the first. One whose repeats all failed for reasons
    of the machine is left out.
    """
    repeated = {trial.repeats for trial in trials}
    entries = [(trial, _repeats_of(trials, trial.number)) for trial in trials if trial.number in repeated]
    rounds = min((_rounds_over(repeats) for _, repeats in entries), default=0)
    entered = (Finalist(trial, tuple(repeats[:rounds])) for trial, repeats in entries)
    ranked = [finalist for finalist in entered if any(finalist.ranks)]
    return tuple(sorted(ranked, key=lambda one: (one.mean_rank, -one.trial.number), reverse=True))


def _repeats_of(trials: Sequence[TrialRecord], number: int) -> list[TrialRecord]:
    """By number, which is the order in which they were started."""
    return sorted((trial for trial in trials if trial.repeats == number), key=lambda trial: trial.number)


def _rounds_over(repeats: Sequence[TrialRecord]) -> int:
    unfinished = (at for at, repeat in enumerate(repeats) if repeat.state not in _OVER)
    return next(unfinished, len(repeats))


def _repeat_rank(repeat: TrialRecord, finalist: TrialRecord) -> Rank | None:
    if repeat.infeasible:
        is_scaled = finalist.best is not None and finalist.best.val_scaled_log_loss is not None
        return (-inf, 0.0) if is_scaled else (0.0, -inf)
    return None if repeat.state is TrialState.FAIL else repeat.best_rank


def _repeat_accuracy(repeat: TrialRecord) -> float | None:
    if repeat.infeasible:
        return 0.0
    return None if repeat.state is TrialState.FAIL or repeat.best is None else repeat.best.val_accuracy


def _mean_rank(ranks: Sequence[Rank]) -> Rank:
    return (_mean([first for first, _ in ranks]), fsum(second for _, second in ranks) / len(ranks))


def _mean(values: Sequence[float]) -> float:
    """Rounded, so that equal values in another order are equal."""
    return round(fsum(values) / len(values), _MEAN_DIGITS)
