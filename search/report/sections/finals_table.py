"""The page's section about the finals: each finalist's scores, and whether the winner's lead is more than noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from search.experiment.search_settings import FinalistSettings
from search.policy.finals import Finalist, due_repeats, final_standing
from search.policy.records import TrialRecord
from search.progress.summary import ENDED_STATES
from search.report.sections.confidence import Interval, overlap, repeated_gain, wilson
from search.report.sections.parameters import role_of
from search.terminal.formatting import count_text


@dataclass(frozen=True, slots=True)
class FinalRow:
    """One finalist, the winner first."""

    number: int
    role: str
    selected: float
    """The accuracy that made it a finalist; biased upwards by that selection."""
    repeats: tuple[float | None, ...]
    """Accuracy of each repeat; 0 if it diverged, None if its machine failed."""
    repeated: float
    """Mean of only the repeats."""
    repeated_interval: Interval | None
    """95 % interval of that mean, or None if the number of validation photos is unknown."""
    overall: float
    """Mean over all seeds, including the first."""


@dataclass(frozen=True, slots=True)
class Finals:
    """The standing after the last complete round, and the progress of the finals."""

    rows: tuple[FinalRow, ...]
    progress: str | None
    """None once all repeats have ended."""
    verdict: str | None
    """None before the first round is complete."""


def finals_view(
    records: Sequence[TrialRecord], settings: FinalistSettings, *, exhausted: bool, photos: int | None
) -> Finals | None:
    """The section, or None if no finals were requested and none were run. Pure.

    exhausted: whether the budget does not allow more repeats.
    """
    repeats = [record for record in records if record.repeats is not None]
    if settings.count == 0 and not repeats:
        return None
    standing = final_standing(records)
    return Finals(
        rows=tuple(_row(finalist, standing[0].trial, photos) for finalist in standing),
        progress=_progress(
            ended=sum(record.state in ENDED_STATES for record in repeats),
            started=len(repeats),
            due=len(due_repeats(records, settings)),
            exhausted=exhausted,
        ),
        verdict=_verdict(standing, photos) if standing else None,
    )


def _row(finalist: Finalist, winner: TrialRecord, photos: int | None) -> FinalRow:
    return FinalRow(
        number=finalist.trial.number,
        role=role_of(finalist.trial, winner),
        selected=finalist.selected_accuracy,
        repeats=finalist.accuracies,
        repeated=finalist.repeated_accuracy,
        repeated_interval=wilson(finalist.repeated_accuracy, photos) if photos else None,
        overall=finalist.overall_accuracy,
    )


def _progress(*, ended: int, started: int, due: int, exhausted: bool) -> str | None:
    if started and ended == started + due:
        return None
    if started == 0 and due == 0:
        return "The finals start after the search: no trial has finished all its stages yet."
    done = f"{ended} of {count_text(started + due, 'repeat')} trained"
    if due and exhausted:
        return f"{done}: the budget is used up, so no more will start. More repeats would make the winner more certain."
    return f"{done} so far."


def _verdict(standing: Sequence[Finalist], photos: int | None) -> str:
    """Whether the winner beats the baseline by more than the noise of retraining and of the photos."""
    best = standing[0]
    if best.trial.is_baseline:
        return "Averaged over all seeds, no finalist was better than the default recipe, the baseline."
    baseline = next((one for one in standing if one.trial.is_baseline), None)
    if baseline is None:
        return "The baseline was not repeated, so there is nothing to compare with."
    difference = best.repeated_accuracy - baseline.repeated_accuracy
    interval = _gain_interval(standing, best, baseline)
    gain = f"{100 * difference:+.2f} points over the baseline in the mean of the repeats"
    if interval is None:
        return f"{gain}; too few repeats to estimate the noise of retraining."
    return f"{gain} (95 %: {100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}), " + _noise_text(
        interval, [wilson(one.repeated_accuracy, photos) for one in (best, baseline)] if photos else None
    )


def _noise_text(gain: Interval, by_photos: Sequence[Interval] | None) -> str:
    """gain: its interval over retraining. by_photos: intervals of the winner's and the baseline's accuracy."""
    if gain[1] < 0.0:
        return "more than the noise of retraining: the repeats favour the baseline."
    if gain[0] <= 0.0:
        return "which is within noise: retraining may reverse it."
    if by_photos is None:
        return "more than the noise of retraining; the number of photos is unknown, and so is their noise."
    if overlap(*by_photos):
        return "more than the noise of retraining, but within that of the photos: the intervals overlap."
    return "which is more than the noise of retraining and of the photos."


def _gain_interval(standing: Sequence[Finalist], best: Finalist, baseline: Finalist) -> Interval | None:
    """The gain's interval, from all finalists with only complete repeats; None if one of the two is not among them."""
    whole = [one for one in standing if all(rank is not None and all(map(isfinite, rank)) for rank in one.ranks)]
    if best not in whole or baseline not in whole:
        return None
    table = [[accuracy for accuracy in one.accuracies if accuracy is not None] for one in whole]
    return repeated_gain(table, whole.index(best), whole.index(baseline))[1]
