"""The audit of a study's labels: photos that look mislabelled, as a list and as a page."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from carcls.scoring.diagnosis import Doubt, doubtful_labels
from carcls.system import atomic
from carcls.system.csv_cells import escape_cell
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.node_store import photos_folder
from search.progress.summary import leading_trial
from search.report.html import environment, page_assets, write_page
from search.report.photos import photo_urls
from search.study.folder import StudyFolder
from search.study.predictions import Predictions, read_predictions
from search.study.study import Study

_MOST_SHOWN = 240
"""Photos on the page; the list has all."""
_HEADER = ("path", "label", "suggested", "probability_of_label", "probability_of_suggested")


def write_audit(folder: StudyFolder, experiment: Experiment, target: Path) -> tuple[int, Predictions]:
    """Writes audit.csv and audit.html into `target`; returns the number of doubtful photos, and whose predictions
    judged them.

    Only photos that a model predicted without training on them are judged: all labelled ones after a final training on
    folds, else the validation photos. Raises StudyError if the study kept no predictions.
    """
    study = Study.open(folder.root, read_only=True) if folder.log.exists() else None
    root = photos_folder(experiment.photos_at, experiment.store)
    said = read_predictions(folder, study, leading_trial(study.records()) if study else None, root)
    if said is None:
        raise StudyError(
            f"{folder.root}: no predictions to judge labels by: run the search to its end, or retrain with"
            " '--set retrain.folds=5', which predicts every photo"
        )
    doubts = doubtful_labels(said.probabilities, said.labels)
    target.mkdir(parents=True, exist_ok=True)
    atomic.write_text(target / "audit.csv", _csv(said, doubts))
    shown = doubts[:_MOST_SHOWN]
    urls = photo_urls(said.root, [said.paths[one.row] for one in shown])
    photos = [
        {
            "path": said.paths[one.row],
            "url": urls.get(said.paths[one.row]),
            "label": said.class_names[int(said.labels[one.row])],
            "suggested": said.class_names[one.suggested],
            "sure": float(said.probabilities[one.row, one.suggested]),
            "of_label": float(said.probabilities[one.row, int(said.labels[one.row])]),
        }
        for one in shown
    ]
    html = environment().get_template("audit.html")
    text = html.render(name=folder.name, of=said.of, photos=photos, count=len(doubts), judged=len(said.paths),
                       **page_assets({"trials": {}, "charts": {}}))  # fmt: skip
    write_page(target / "audit.html", text)
    return len(doubts), said


def _csv(said: Predictions, doubts: Sequence[Doubt]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for one in doubts:
        label = int(said.labels[one.row])
        chosen = said.probabilities[one.row]
        names = (said.paths[one.row], said.class_names[label], said.class_names[one.suggested])
        writer.writerow([*map(escape_cell, names), f"{chosen[label]:.4f}", f"{chosen[one.suggested]:.4f}"])
    return text.getvalue()
