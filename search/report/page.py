"""Writes the report of a study's folder."""

import csv
from dataclasses import asdict

from search.experiment.experiment import Experiment
from search.experiment.node_store import photos_folder
from search.final.final_study import final_reports
from search.progress.event_files import epoch_times
from search.progress.summary import as_interrupted, leading_trial
from search.report import report_data, write_report
from search.report.leaderboard import write_leaderboard, write_mistakes
from search.report.page_data import ReportData
from search.report.photos import photo_urls
from search.report.sections.mistakes import Mistakes, mistake_rows, mistakes_view, shown_paths, with_photos
from search.report.sections.next_steps import commands, ended_text
from search.report.summary_events import Times, write_summary_events
from search.study.checked_files import check_files
from search.study.driver_life import has_driver
from search.study.ensemble_scores import read_ensemble
from search.study.expected import WinnerExpectation, expected_winner
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from search.study.gpu_notes import failing_gpus
from search.study.node_notes import node_notes
from search.study.predictions import Predictions, final_predictions, read_predictions
from search.study.study import Study


def write_study_report(folder: StudyFolder, experiment: Experiment, study: Study | None = None) -> None:
    """Writes report.html for the folder: a study in any state, or the training of a fixed recipe. Beside it are
    leaderboard.csv, leaderboard.json and mistakes.csv. study: if it was just opened.

    Raises StudyError if the study, or one of its files, cannot be read or was changed.
    """
    study = study or (Study.open(folder.root, read_only=True) if folder.log.exists() else None)
    if study:
        check_files(study, folder)
    photos = photos_folder(experiment.photos_at, experiment.store)
    said = read_predictions(folder, study, leading_trial(study.records()) if study else None, photos)
    times = _epoch_times(folder, study)
    data = study_report_data(folder, experiment, study, said, times)
    write_report(folder.report, data)
    if data.leaderboard:
        write_leaderboard(folder.root, data.leaderboard)
    if said is not None:
        write_mistakes(folder.mistakes, mistake_rows(said))
    final = final_predictions(folder, experiment.data.root)
    write_summary_events(folder, experiment, study, times, final)


def study_report_data(
    folder: StudyFolder,
    experiment: Experiment,
    study: Study | None,
    said: Predictions | None,
    times: Times | None = None,
) -> ReportData:
    """Everything on the page of one study. Reads photos, but writes nothing. times: of epochs, if known already."""
    records = study.records() if study else ()
    trained = sum(record.trained_s for record in records)
    changes = "".join(f"# changed {change.time}: {change}\n" for change in study.changes) if study else ""
    return report_data(
        name=folder.name,
        experiment_text=changes + experiment.resolved_yaml(),
        records=records if has_driver(folder) else as_interrupted(records),
        validation_photos=_photos(folder, "validation"),
        holdout_photos=_photos(folder, "holdout"),
        quarantined=_quarantined(folder),
        retrain=asdict(read_scores(folder)) if folder.scores.exists() else None,
        retrain_reports=tuple(report for reports in final_reports(folder) for report in reports),
        ensemble=read_ensemble(folder),
        submission=str(folder.submission) if folder.submission.exists() else None,
        elapsed_s=study.elapsed_s if study else None,
        gpus_per_trial=study.gpu_meter.mean_share(trained) if study else 0.0,
        device=_device(folder),
        finalists=experiment.search.finalists,
        finals_exhausted=study.finals_exhausted if study else False,
        expected=_expected(folder, experiment, study) if study else None,
        nodes=node_notes(study) if study else (),
        failing_gpus=failing_gpus(study) if study else (),
        space=experiment.space if study else None,
        mistakes=_mistakes(said),
        epoch_times=_epoch_times(folder, study) if times is None else times,
        ended=ended_text(folder, study, experiment) if study else "",
        commands=commands(folder, experiment, study),
    )


def _epoch_times(folder: StudyFolder, study: Study | None) -> dict[int, dict[int, float]]:
    records = study.records() if study else ()
    return {record.number: epoch_times(folder.trial(record.number)) for record in records}


def _mistakes(said: Predictions | None) -> Mistakes | None:
    if said is None:
        return None
    view = mistakes_view(said)
    return with_photos(view, photo_urls(said.root, shown_paths(view)))


def _expected(folder: StudyFolder, experiment: Experiment, study: Study) -> WinnerExpectation | None:
    return expected_winner(folder, study, experiment.data.root, seed=experiment.search.seed)


def _device(folder: StudyFolder) -> str:
    """The recorded device of the final training; the search itself may have run elsewhere."""
    return read_scores(folder).device if folder.scores.exists() else ""


def _photos(folder: StudyFolder, fold: str) -> int:
    with folder.split.open(newline="", encoding="utf-8", errors="surrogateescape") as rows:  # names may not be UTF-8
        return sum(row["fold"] == fold for row in csv.DictReader(rows))


def _quarantined(folder: StudyFolder) -> tuple[tuple[str, str], ...]:
    """(path, reason) of each unusable photo."""
    with folder.quarantine.open(newline="", encoding="utf-8", errors="replace") as rows:  # names may not be UTF-8
        return tuple((row["path"], row["reason"]) for row in csv.DictReader(rows))
