"""Which trainings of a final study are in use, if its first fold is trained with and without extra photos.

Trial 0 is then the first fold without them, trial 1 with them. The better one stays a member, and later trials train as
it did. All of this follows from two values of the study, so that an interrupted final training resumes as it began.
"""

import json
from dataclasses import asdict

from carcls.scoring.paired_gain import PairedGain
from carcls.splits.k_folds import EVERY_PHOTO
from search.policy.records import TrialRecord
from search.study.study import Study

WITHOUT, WITH = 0, 1
"""Numbers of the two trainings that are compared."""
_FOLDS, _GAIN = "extra:folds", "extra:gain"


def start_comparison(study: Study, *, folds: int) -> None:
    """Records that the first two trainings are compared. folds: number of trainings that will be in use."""
    study.set_value(_FOLDS, folds)


def is_comparing(study: Study) -> bool:
    """True if the first two trainings are compared, also after the decision."""
    return study.get_value(_FOLDS) is not None


def extra_gain(study: Study) -> PairedGain | None:
    """What the extra photos gain, or None before the comparison."""
    kept = study.get_value(_GAIN)
    return None if kept is None else PairedGain(**json.loads(str(kept)))


def keep_gain(study: Study, gain: PairedGain) -> None:
    """Records the decision."""
    study.set_value(_GAIN, json.dumps(asdict(gain)))


def trains_on_extra(study: Study, number: int) -> bool:
    """Whether a training takes the extra photos too. False for every trial of a search."""
    if not is_comparing(study):
        return False
    gain = extra_gain(study)
    return number == WITH or (number > WITH and gain is not None and gain.helps)


def members(study: Study) -> tuple[TrialRecord, ...]:
    """The trainings that validate and are in use, in order of folds. Both of the compared ones before the decision."""
    found = tuple(record for record in study.records() if record.fold != EVERY_PHOTO)
    gain = extra_gain(study) if is_comparing(study) else None
    if gain is None:
        return found
    left_out = WITHOUT if gain.helps else WITH
    return tuple(record for record in found if record.number != left_out)


def fold_count(study: Study) -> int:
    """Number of trainings that validate, once all are added."""
    planned = study.get_value(_FOLDS)
    return len(members(study)) if planned is None else int(planned)
