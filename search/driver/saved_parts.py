"""Deaths of trials that had saved their state within an epoch: such a trial has made progress."""

from dataclasses import replace
from pathlib import Path

from carcls.training.part_names import part_name
from search.policy.records import TrialRecord
from search.worker.segment import Outcome


def without_saved_death(outcome: Outcome, record: TrialRecord, folder: Path) -> Outcome:
    """The outcome of a trial's latest attempt: no death if the attempt has saved a part of the next epoch.

    folder: the trial's.
    """
    part = folder / part_name(record.attempts - 1, record.fidelity + 1)
    return replace(outcome, kind="preempted") if outcome.kind == "killed" and part.is_file() else outcome
