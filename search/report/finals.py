"""What the page says of the finals: two scores of each finalist, and what the winner's are worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from search.experiment.settings import FinalistSettings
from search.policy.finals import Finalist, due_repeats, final_standing
from search.policy.records import TrialRecord
from search.progress.summary import ENDED_STATES
from search.report.confidence import Interval, overlap, repeated_gain, wilson
from search.report.parameters import role_of
from search.terminal.wording import count_text


@dataclass(frozen=True, slots=True)
class FinalRow:
    """One finalist, the winner first."""

    number: int
    role: str
    selected: float
    """The accuracy that made it a finalist: one of the best of many, and too high for that reason."""
    repeats: tuple[float | None, ...]
    """Accuracy of each repeat; 0 where it diverged, None where a machine failed."""
    repeated: float
    """Mean of the repeats alone."""
    repeated_interval: Interval | None
    """95 % of that by the number of validation photos; None where it is not known."""
    overall: float
    """Mean over all seeds, the first included."""


@dataclass(frozen=True, slots=True)
class Finals:
    """The standing, as of the last round that is over for all, and how far the finals have come."""

    rows: tuple[FinalRow, ...]
    progress: str | None
    """None where all repeats that were asked for have ended."""
    verdict: str | None
    """None before a round is over."""


def finals_view(
    records: Sequence[TrialRecord], settings: FinalistSettings, *, exhausted: bool, photos: int | None
) -> Finals | None:
    """What the page says; None where no finals were asked for and none were held. Pure.

    exhausted: whether the budget has no room for more repeats.
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
        return "The finals come once the search is over: no trial has had all its stages yet."
    done = f"{ended} of {count_text(started + due, 'repeat')} trained"
    if due and exhausted:
        return f"{done}: the budget is used up, and no more will start. The more of them, the surer the winner."
    return f"{done} so far."


def _verdict(standing: Sequence[Finalist], photos: int | None) -> str:
    """What the repeats say of the winner and the baseline, by the chance of training again and that of the photos."""
    best = standing[0]
    if best.trial.is_baseline:
        return "Over all seeds no finalist was better than the default recipe, the baseline."
    baseline = next((one for one in standing if one.trial.is_baseline), None)
    if baseline is None:
        return "The baseline was not repeated, so there is nothing to compare with."
    difference = best.repeated_accuracy - baseline.repeated_accuracy
    interval = _gain_interval(standing, best, baseline)
    gain = f"{100 * difference:+.2f} points over the baseline in the mean of the repeats"
    if interval is None:
        return f"{gain}; too few of them to tell the noise of training again."
    return f"{gain} (95 %: {100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}), " + _noise_text(
        interval, [wilson(one.repeated_accuracy, photos) for one in (best, baseline)] if photos else None
    )


def _noise_text(gain: Interval, by_photos: Sequence[Interval] | None) -> str:
    """gain: of training again; by_photos: the winner's and the baseline's accuracy."""
    if gain[1] < 0.0:
        return "more than the noise of training again: the repeats speak for the baseline."
    if gain[0] <= 0.0:
        return "which is within noise: training again may turn it round."
    if by_photos is None:
        return "more than the noise of training again; of how many photos is not known, so neither is their noise."
    if overlap(*by_photos):
        return "more than the noise of training again, but within that of the photos: the intervals overlap."
    return "which is more than noise, that of training again and that of the photos alike."


def _gain_interval(standing: Sequence[Finalist], best: Finalist, baseline: Finalist) -> Interval | None:
    """From all finalists of which every repeat came to its end; None where one of the two is not among these."""
    whole = [one for one in standing if all(rank is not None and all(map(isfinite, rank)) for rank in one.ranks)]
    if best not in whole or baseline not in whole:
        return None
    table = [[accuracy for accuracy in one.accuracies if accuracy is not None] for one in whole]
    return repeated_gain(table, whole.index(best), whole.index(baseline))[1]
