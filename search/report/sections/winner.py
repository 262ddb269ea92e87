"""The winner beside the baseline: how far ahead, and whether that is more than noise."""

from collections.abc import Sequence
from dataclasses import dataclass

from carcls.scoring.expectation import Expectation
from search.experiment.domains import Value
from search.policy.records import TrialRecord, TrialState
from search.report.sections.confidence import Score, overlap, trial_score
from search.report.sections.finals_table import Finals
from search.study.expected import WinnerExpectation


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One parameter's value in the winner and in the baseline; None if it is not active."""

    name: str
    value: Value
    baseline: Value


@dataclass(frozen=True, slots=True)
class Winner:
    """The best trial, and whether its lead is more than noise."""

    number: int
    provisional: bool
    """True until a trial has finished all its stages."""
    score: Score
    baseline: Score | None
    verdict: str
    parameters: tuple[ParameterRow, ...]
    expected: Expectation | None = None
    """Expected accuracy on new photos, or None if unknown."""


def winner(
    best: TrialRecord,
    records: Sequence[TrialRecord],
    photos: tuple[int | None, int | None],
    finals: Finals | None,
    expected: WinnerExpectation | None,
) -> Winner | None:
    """The best trial beside the baseline; None without a score.

    photos: number of validation and holdout photos, None if unknown. finals: whose verdict counts, if there is one.
    """
    score = trial_score(best, *photos)
    if score is None:
        return None
    baseline = next((record for record in records if record.is_baseline), None)
    baseline_score = trial_score(baseline, *photos) if baseline else None
    names = dict.fromkeys([*best.params, *(baseline.params if baseline else ())])
    return Winner(
        number=best.number,
        provisional=best.state is not TrialState.COMPLETE,
        score=score,
        baseline=baseline_score,
        verdict=(finals and finals.verdict) or _verdict(score, baseline_score, is_baseline=best.is_baseline),
        parameters=tuple(
            ParameterRow(name, best.params.get(name), baseline.params.get(name) if baseline else None) for name in names
        ),
        expected=expected.expected if expected is not None and expected.number == best.number else None,
    )


def _verdict(winner: Score, baseline: Score | None, *, is_baseline: bool) -> str:
    if is_baseline:
        return "No trial was better than the default recipe, the baseline."
    if baseline is None:
        return "The baseline has no score yet, so there is nothing to compare with."
    gain = f"{100 * (winner.accuracy - baseline.accuracy):+.2f} points over the baseline"
    if winner.interval is None or baseline.interval is None:
        return f"{gain}; the number of photos is unknown, and so is its noise."
    if overlap(winner.interval, baseline.interval):
        return f"{gain}, which is within noise: the 95 % intervals overlap."
    return f"{gain}, which is more than noise: the 95 % intervals do not overlap."
