"""Writes the page that compares several studies' folders."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from search.experiment.experiment import Experiment
from search.report.comparison import Compared, Comparison
from search.report.html import render_comparison, write_page
from search.report.page import study_report_data
from search.report.page_data import ReportData
from search.study.checked_files import split_digest
from search.study.folder import StudyFolder
from search.study.study import Study


def write_comparison(studies: Sequence[tuple[StudyFolder, Experiment]], page: Path) -> None:
    """Writes the page of several studies.

    Raises StudyError if a study cannot be read, OSError if the page cannot be written.
    """
    found = [_compared(folder, experiment, page) for folder, experiment in studies]
    names = [one.name for one in found]
    found = [
        replace(one, name=str(folder.root)) if names.count(one.name) > 1 else one
        for one, (folder, _) in zip(found, studies, strict=True)
    ]
    ordered = tuple(sorted(found, key=lambda one: -_accuracy(one.data)))
    same_photos = len({one.split for one in found}) == 1 and bool(found[0].split)
    write_page(page, render_comparison(Comparison(ordered, same_photos)))


def _compared(folder: StudyFolder, experiment: Experiment, page: Path) -> Compared:
    study = Study.open(folder.root, read_only=True) if folder.log.exists() else None
    return Compared(
        name=folder.name,
        data=study_report_data(folder, experiment, study, None),
        split=split_digest(study) if study else "",
        link=Path(os.path.relpath(folder.report, page.parent)).as_posix() if folder.report.exists() else "",
    )


def _accuracy(data: ReportData) -> float:
    if data.winner is None:
        return data.retrain.tta_accuracy if data.retrain else 0.0
    return data.winner.expected.accuracy if data.winner.expected else data.winner.score.accuracy
