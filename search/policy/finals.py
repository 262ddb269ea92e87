"""The finals: the best trials are trained again from the start with other seeds. Pure functions of plain records.

The best of many scores is partly luck. Training the same configuration again averages that luck out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf

from search.experiment.search_settings import FinalistSettings
from search.policy.records import Rank, TrialRecord, TrialState, searched

NO_FINALS = FinalistSettings(count=0)

_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

_MEAN_DIGITS = 9
"""Digits of a mean accuracy. Equal counts of correct photos compare equal, however their parts were rounded."""


@dataclass(frozen=True, slots=True)
class DueRepeat:
    """A repeat that the finals still need."""

    trial: TrialRecord
    """The finalist."""
    repetition: int
    """Counted from 1."""


@dataclass(frozen=True)
class Finalist:
    """A trial and its repeats."""

    trial: TrialRecord
    repeats: tuple[TrialRecord, ...]
    """In order of repetition, from 1; only rounds that have ended for all finalists."""

    @cached_property
    def ranks(self) -> tuple[Rank | None, ...]:
        """The value of each repeat. An infeasible repeat gets the worst value; a repeat that failed for another reason
        is None."""
        return tuple(_repeat_rank(repeat, self.trial) for repeat in self.repeats)

    @property
    def selected_accuracy(self) -> float:
        """Accuracy of the original trial. It is biased upwards, since the trial was selected for it."""
        return self.trial.best.val_accuracy if self.trial.best else 0.0

    @property
    def repeated_accuracy(self) -> float:
        """Mean accuracy of the repeats, which is free of that selection bias."""
        return _mean([accuracy for accuracy in self.accuracies if accuracy is not None])

    @property
    def accuracies(self) -> tuple[float | None, ...]:
        """Accuracy of each repeat: 0 if infeasible, None if it failed for another reason."""
        return tuple(_repeat_accuracy(repeat) for repeat in self.repeats)

    @property
    def overall_accuracy(self) -> float:
        """Mean accuracy over the original trial and its repeats."""
        return _mean([self.selected_accuracy, *(one for one in self.accuracies if one is not None)])

    @property
    def repeat_count(self) -> int:
        """Number of repeats in these means."""
        return len(self._valued)

    @property
    def mean_rank(self) -> Rank:
        """Mean value over the original trial and its repeats. The winner has the best one.

        It uses all the evidence, and every finalist has equally many seeds. With the same prior for all trials, this
        order is that of the posterior means, and these do not depend on how the finalists were selected.
        """
        return _mean_rank([*([self.trial.best_rank] if self.trial.best_rank else []), *self._valued])

    @cached_property
    def _valued(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank is not None]


def finalists(trials: Sequence[TrialRecord], settings: FinalistSettings) -> list[TrialRecord]:
    """The baseline, then the best `count` of the complete trials. Ties go to the lower number."""
    if settings.count == 0:
        return []
    trained = [trial for trial in searched(trials) if trial.state is TrialState.COMPLETE and trial.best_rank]
    ranked = sorted(trained, key=lambda trial: (trial.best_rank, -trial.number), reverse=True)
    baseline = [trial for trial in trained if trial.is_baseline]
    return [*baseline, *(trial for trial in ranked[: settings.count] if not trial.is_baseline)]


def due_repeats(trials: Sequence[TrialRecord], settings: FinalistSettings) -> list[DueRepeat]:
    """The repeats that have not started yet, in order: one of each finalist, then a second of each, and so on.

    Going in rounds leaves each finalist with equally many seeds if the finals are cut off. Failed repeats are not due
    again.
    """
    chosen = finalists(trials, settings)
    started = {trial.number: len(_repeats_of(trials, trial.number)) for trial in chosen}
    rounds = range(1, settings.seeds + 1)
    return [DueRepeat(trial, number) for number in rounds for trial in chosen if number > started[trial.number]]


def due_s(trials: Sequence[TrialRecord], settings: FinalistSettings) -> float:
    """Estimated seconds of training for the due repeats.

    A repeat takes as long as its finalist did. Repeats of finalists not yet known take as long as the known ones on
    average.
    """
    known = finalists(trials, settings)
    if not known:
        return 0.0
    unknown = max(0, settings.count - sum(not trial.is_baseline for trial in known)) * settings.seeds
    mean_s = fsum(trial.trained_s for trial in known) / len(known)
    return fsum(due.trial.trained_s for due in due_repeats(trials, settings)) + unknown * mean_s


def due_share(trials: Sequence[TrialRecord], settings: FinalistSettings, *, trained_s: float) -> float:
    """Training that the due repeats still need, as a share of the `trained_s` seconds trained so far."""
    return due_s(trials, settings) / trained_s if trained_s else 0.0


def final_standing(trials: Sequence[TrialRecord]) -> tuple[Finalist, ...]:
    """The repeated trials, the best mean first; ties go to the smaller log-loss, then to the lower number.

    Counts the rounds that have ended for all of them; empty before the first. A trial is left out if none of its
    repeats has a value because all failed for reasons other than the configuration.
    """
    repeated = {trial.repeats for trial in trials}
    entries = [(trial, _repeats_of(trials, trial.number)) for trial in trials if trial.number in repeated]
    rounds = min((_rounds_over(repeats) for _, repeats in entries), default=0)
    entered = (Finalist(trial, tuple(repeats[:rounds])) for trial, repeats in entries)
    ranked = [finalist for finalist in entered if any(finalist.ranks)]
    return tuple(sorted(ranked, key=lambda one: (one.mean_rank, -one.trial.number), reverse=True))


def _repeats_of(trials: Sequence[TrialRecord], number: int) -> list[TrialRecord]:
    """In order of number, which is the order in which they started."""
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
    """Rounded, so that the order of the values does not matter."""
    return round(fsum(values) / len(values), _MEAN_DIGITS)
