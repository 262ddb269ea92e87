"""From a study's folder to its page: gathers what `report.py` prints."""

import csv

from search.experiment.experiment import Experiment
from search.folder import StudyFolder

def quarantined(folder: StudyFolder) -> tuple[tuple[str, str], ...]:
    """(path, reason) of each photo that cannot be used."""
    if not folder.quarantine.exists():
        return ()
    with folder.quarantine.open(newline="", encoding="utf-8") as rows:
        return tuple((row["path"], row["reason"]) for row in csv.DictReader(rows))
