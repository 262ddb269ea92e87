"""What TensorBoard shows beside the trials' curves: the search as a whole, and pictures of its best models.

Written with the report into `summary/`, one file for each of a few runs, which replaces the file of an earlier report.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from carcls.errors import ConfigError, DataError, EvidenceError
from carcls.events import EpochReport
from carcls.inspection.pictures import augmented_png, confusion_png, photos_png, reliability_png
from carcls.scoring.diagnosis import mistakes, reliability
from carcls.scoring.metrics import confusion
from search.experiment.experiment import Experiment
from search.policy.finals import final_standing
from search.policy.records import TrialRecord, TrialState, searched
from search.progress.event_files import EventLog, delete_events
from search.progress.summary import leading_trial
from search.report.sections.course import Span, spans
from search.study.folder import StudyFolder
from search.study.predictions import Predictions, trial_predictions
from search.study.study import Study

_MOST_POINTS = 400
"""Points of each curve of the search; longer ones are thinned out evenly."""
_MOST_TRIALS = 5
"""Trials with pictures: the winner, the other finalists, the baseline."""
_MOST_MISTAKES = 18
_AUGMENTED_PHOTOS, _VIEWS = 4, 5

Times = Mapping[int, Mapping[int, float]]
"""For each trial, Unix time in seconds at the end of each epoch."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one curve."""

    tag: str
    step: int
    value: float
    time_s: float | None


def write_summary_events(
    folder: StudyFolder, experiment: Experiment, study: Study | None, times: Times, final: Predictions | None
) -> None:
    """Writes the runs `summary/search`, `summary/trial-<n>` of a few trials, and `summary/final`.

    final: predictions of the final training, if it kept them. Raises OSError if the folder is not writable.
    """
    if study is not None:
        points = search_points(study.records(), times)
        if points:
            log = _new_log(folder, "search")
            for point in points:
                log.scalars({point.tag: point.value}, step=point.step, time_s=point.time_s)
        for trial in pictured_trials(study.records()):
            with suppress(DataError, EvidenceError):  # a trial without predictions has no pictures
                said = trial_predictions(folder, study, trial, experiment.data.root)
                if said is not None:
                    policy = study.config(trial.number).augment.policy
                    _write_pictures(_new_log(folder, f"trial-{trial.number:04d}"), said, policy, experiment.search.seed)
    if final is not None:
        _write_pictures(_new_log(folder, "final"), final, None, experiment.search.seed)


def pictured_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The winner, the other finalists, then the baseline; at most five. Pure."""
    best = leading_trial(records)
    finalists = [one.trial for one in final_standing(records)]
    baseline = [trial for trial in searched(records) if trial.is_baseline and trial.best]
    chosen = {trial.number: trial for trial in [*([best] if best else []), *finalists, *baseline]}
    return list(chosen.values())[:_MOST_TRIALS]


def search_points(records: Sequence[TrialRecord], times: Times) -> list[Point]:
    """Curves of the search: best accuracy by seconds and by seconds of training, trials that ended each stage, and
    trainings at once by seconds. Pure; empty without times."""
    trained = spans(records, times)
    if not trained:
        return []
    zero = min(end - report.seconds.total for record in records for report, end in _timed(record, times))
    return [
        *_best_points(records, times, zero),
        *_stage_points(records, times, zero),
        *_busy_points(trained, zero),
    ]


def _timed(record: TrialRecord, times: Times) -> list[tuple[EpochReport, float]]:
    ends = times.get(record.number, {})
    return [(report, ends[report.epoch]) for report in record.reports if report.epoch in ends]


def _best_points(records: Sequence[TrialRecord], times: Times, zero: float) -> list[Point]:
    trials = [trial for trial in searched(records) if trial.state is not TrialState.FAIL]
    epochs = sorted(
        (end, report.val_accuracy, report.seconds.total) for one in trials for report, end in _timed(one, times)
    )
    best, spent_s = 0.0, 0.0
    by_time, by_cost = [], []
    for end, accuracy, took_s in epochs:
        best, spent_s = max(best, accuracy), spent_s + took_s
        by_time.append(Point("search/best_accuracy_by_second", round(end - zero), best, end))
        by_cost.append(Point("search/best_accuracy_by_trained_second", round(spent_s), best, end))
    return [*_thinned(by_time), *_thinned(by_cost)]


def _stage_points(records: Sequence[TrialRecord], times: Times, zero: float) -> list[Point]:
    ends: dict[tuple[int, str], list[float]] = {}
    for trial in searched(records):
        for report, end in _timed(trial, times):
            if report.stage_ended:
                ends.setdefault((report.stage, report.stage_name), []).append(end)
    return [
        point
        for (stage, name), own in sorted(ends.items())
        for point in _thinned([
            Point(f"trials_that_ended/{stage + 1}_{name}", round(end - zero), count, end)
            for count, end in enumerate(sorted(own), start=1)
        ])
    ]  # fmt: skip


def _busy_points(trained: Sequence[Span], zero: float) -> list[Point]:
    changes = sorted([(span.start_s, 1) for span in trained] + [(span.end_s, -1) for span in trained])
    busy, points = 0, []
    for at_s, change in changes:
        busy += change
        points.append(Point("search/trainings_at_once", round(at_s), busy, zero + at_s))
    return _thinned(points)


def _thinned(points: list[Point]) -> list[Point]:
    """Every n-th point and the last, so that at most `_MOST_POINTS` are left."""
    stride = -(-len(points) // _MOST_POINTS)
    return points if stride <= 1 else [*points[:-1:stride], points[-1]][-_MOST_POINTS:]


def _new_log(folder: StudyFolder, name: str) -> EventLog:
    place = folder.summary / name
    delete_events(place)
    return EventLog(place)


def _write_pictures(log: EventLog, said: Predictions, policy: str | None, seed: int) -> None:
    """policy: of the training's augmentation; None draws no augmented photos."""
    log.image("predictions/confusion", confusion_png(confusion(said.probabilities, said.labels), said.class_names))
    log.image("predictions/reliability", reliability_png(reliability(said.probabilities, said.labels)))
    wrong = [int(row) for row in mistakes(said.probabilities, said.labels)[:_MOST_MISTAKES]]
    if wrong:
        log.image(
            "predictions/mistakes", photos_png([(said.root / said.paths[row], _title(said, row)) for row in wrong])
        )
    if policy is not None:
        photos = [said.root / path for path in said.paths[:: max(1, len(said.paths) // _AUGMENTED_PHOTOS)]]
        with suppress(ConfigError):  # the user's policy file may be gone since
            log.image("augmented", augmented_png(policy, photos[:_AUGMENTED_PHOTOS], views=_VIEWS, seed=seed))


def _title(said: Predictions, row: int) -> str:
    answer = int(said.probabilities[row].argmax())
    sure = 100 * said.probabilities[row, answer]
    return f"{said.class_names[int(said.labels[row])]} as {said.class_names[answer]}, {sure:.0f} %"
