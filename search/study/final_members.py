"""Which trainings of a final study are in use, if some are compared: with extra photos, or with pseudo-labels.

With extra photos, trial 0 is the first fold without them and trial 1 with them. The better one stays a member, and
later trials train as it did. With pseudo-labels, a second generation follows the first one's members. It begins with
the first fold, and takes their place if that is better. All of this follows from a few values of the study, so that an
interrupted final training resumes as it began.
"""

import json
from dataclasses import asdict
from typing import Literal

from carcls.scoring.paired_gain import PairedGain
from carcls.splits.k_folds import EVERY_PHOTO
from search.policy.records import TrialRecord
from search.study.study import Study

WITHOUT, WITH = 0, 1
"""Numbers of the two trainings that are compared about extra photos."""
_FOLDS, _SECOND = "extra:folds", "pseudo:first"
Kind = Literal["extra", "pseudo"]


def start_comparison(study: Study, *, folds: int) -> None:
    """Records that the first two trainings are compared. folds: number of trainings that will be in use."""
    study.set_value(_FOLDS, folds)


def is_comparing(study: Study) -> bool:
    """True if the first two trainings are compared, also after the decision."""
    return study.get_value(_FOLDS) is not None


def start_second(study: Study) -> int:
    """Records that the next training begins the second generation, unless one has; returns its number."""
    if second_generation(study) is None:
        study.set_value(_SECOND, len(study.records()))
    return int(study.get_value(_SECOND) or 0)


def second_generation(study: Study) -> int | None:
    """Number of the first training with pseudo-labels, which may not be added yet; None if there is to be none."""
    first = study.get_value(_SECOND)
    return None if first is None else int(first)


def gain_of(study: Study, kind: Kind) -> PairedGain | None:
    """What extra photos or pseudo-labels gain, or None before the comparison."""
    kept = study.get_value(f"{kind}:gain")
    return None if kept is None else PairedGain(**json.loads(str(kept)))


def keep_gain(study: Study, kind: Kind, gain: PairedGain) -> None:
    """Records the decision."""
    study.set_value(f"{kind}:gain", json.dumps(asdict(gain)))


def trains_on_extra(study: Study, number: int) -> bool:
    """Whether a training takes the extra photos too. False for every trial of a search."""
    if not is_comparing(study):
        return False
    return number == WITH or (number > WITH and _helps(study, "extra"))


def trains_on_pseudo(study: Study, number: int) -> bool:
    """Whether a training takes pseudo-labelled photos too. False for every trial of a search."""
    first = second_generation(study)
    return first is not None and (number == first or (number > first and _helps(study, "pseudo")))


def members(study: Study) -> tuple[TrialRecord, ...]:
    """The trainings that validate and are in use, in order of folds. Both of the compared ones before the decision."""
    first = second_generation(study)
    if first is not None and _helps(study, "pseudo"):
        return tuple(record for record in _validating(study) if record.number >= first)
    return first_members(study)


def first_members(study: Study) -> tuple[TrialRecord, ...]:
    """Those of the first generation."""
    first, left_out = second_generation(study), None
    if is_comparing(study) and gain_of(study, "extra") is not None:
        left_out = WITHOUT if _helps(study, "extra") else WITH
    return tuple(
        record
        for record in _validating(study)
        if record.number != left_out and (first is None or record.number < first)
    )


def teachers(study: Study, number: int) -> tuple[TrialRecord, ...]:
    """The trainings whose models label photos for a training: that of its own fold, since others trained on photos that
    it validates. All of the first generation for one on all photos."""
    fold = study.record(number).fold
    return tuple(record for record in first_members(study) if fold in (EVERY_PHOTO, record.fold))


def fold_count(study: Study) -> int:
    """Number of trainings that validate and are in use, once all are added."""
    planned = study.get_value(_FOLDS)
    return len(first_members(study)) if planned is None else int(planned)


def _validating(study: Study) -> tuple[TrialRecord, ...]:
    return tuple(record for record in study.records() if record.fold != EVERY_PHOTO)


def _helps(study: Study, kind: Kind) -> bool:
    gain = gain_of(study, kind)
    return gain is not None and gain.helps
