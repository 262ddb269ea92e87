"""A final training that an earlier call of `carsearch run --hours` began, and the plan that goes on with it."""

from collections.abc import Sequence

from search.errors import StudyError
from search.policy.records import TrialRecord, TrialState
from search.policy.time_plan import FINAL, Begun, TimePlan
from search.study.final_members import fold_count
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from search.study.run_hours import Pace, WholeRun
from search.study.study import Study


def plan_now(
    folder: StudyFolder, whole: WholeRun, study: Study, records: Sequence[TrialRecord], *, search_hours: float | None
) -> TimePlan:
    """The plan for what is left, by the trials so far, and by the study's own final training if it was begun.

    search_hours: see `WholeRun.plan`.
    """
    begun = None
    if whole.stage == FINAL and not whole.counted:
        whole = whole.after(retrained_s(folder), whole.stage)
        folds = folds_begun(folder)
        begun = Begun(folds, share_left(folder)) if folds else None
    paces = paces_of(folder, whole.counted)
    return whole.plan(records, searched_s=study.elapsed_s, search_hours=search_hours, begun=begun, paces=paces)


def paces_of(folder: StudyFolder, finals: Sequence[str]) -> tuple[Pace, ...]:
    """Of the final trainings in these folders of a study, without those whose scores do not tell or cannot be read."""
    found = []
    for name in finals:
        try:
            scores = read_scores(StudyFolder(folder.root, name))
        except StudyError:
            continue
        if scores.efficiency is not None:
            found.append(Pace(scores.efficiency.views_s_per_photo, 1 if scores.refit else scores.folds))
    return tuple(found)


def folds_begun(folder: StudyFolder) -> int:
    """Folds of a final training that an earlier call began; 0 if none did, or if its creation was cut off."""
    own = folder.retrain_study
    if not (folder.retrain_config.exists() and own.log.exists()):
        return 0
    return max(1, fold_count(Study.open(own.root, read_only=True)))


def share_left(folder: StudyFolder) -> float:
    """Share of a final training's epochs that are still to train: none of those that stopping early spared."""
    own = folder.retrain_study
    if not own.log.exists():
        return 1.0
    study = Study.open(own.root, read_only=True)
    planned = left = 0
    for record in study.records():
        epochs = study.config(record.number).total_epochs
        planned += epochs
        left += 0 if record.state is TrialState.COMPLETE else epochs - record.fidelity
    return left / planned if planned else 1.0


def retrained_s(folder: StudyFolder) -> float:
    """Seconds of final trainings of earlier calls that did not end."""
    own = folder.retrain_study
    return Study.open(own.root, read_only=True).elapsed_s if own.log.exists() else 0.0
