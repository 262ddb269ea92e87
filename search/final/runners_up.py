"""Which other trial to train besides the winner, so that `carsearch ensemble` can average their final trainings.

On the recorded trainings an average gains from another backbone, and not from another trial of the same one
(`python -m benchmarks.runners_up`).
"""

from collections.abc import Callable, Collection, Sequence

from search.errors import StudyError
from search.policy.records import TrialRecord, TrialState
from search.study.final_scores import read_scores
from search.study.finals_beside import finals_beside, is_final_whole, trial_beside
from search.study.folder import StudyFolder
from search.study.study import Study

Backbone = tuple[str, float]
"""Name and width."""


def runner_up(
    trials: Sequence[TrialRecord], backbone_of: Callable[[int], Backbone], trained: Collection[int]
) -> TrialRecord | None:
    """The best trial of a backbone that no final training has yet; None if there is none. Pure.

    Trials that were stopped count too, since a search stops most of those of other backbones: their best is the least
    that they can do. Not those that ended no stage beyond their first, and no repeats. backbone_of: a trial's, by its
    number; asked of the best trials only. trained: numbers of the trials that have a final training.
    """
    used = {backbone_of(number) for number in trained}
    ranked = [(one.best_rank, -one.number, one) for one in trials if _may_be_trained(one) and one.best_rank]
    best_first = sorted(ranked, key=lambda row: row[:2], reverse=True)
    return next((one for *_, one in best_first if backbone_of(one.number) not in used), None)


def runner_up_of(folder: StudyFolder) -> TrialRecord | None:
    """The study's: the trial whose training beside the final one was begun and not finished, else a new one, or None.

    None also before the final training. Raises StudyError if the study cannot be read.
    """
    main = _trained(folder)
    if main is None:
        return None
    study = Study.open(folder.root, read_only=True)
    trials = study.records()
    beside = {number: one for one in finals_beside(folder) if (number := trial_beside(one)) is not None}
    begun = next((number for number, one in beside.items() if not is_final_whole(one)), None)
    if begun is not None and begun < len(trials):
        return trials[begun]
    return other_backbone(study, main, *beside)


def other_backbone(study: Study, *trained: int) -> TrialRecord | None:
    """The best trial of a backbone that none of the trials `trained` has, or None."""

    def backbone_of(number: int) -> Backbone:
        config = study.config(number)
        return config.backbone, config.alpha

    return runner_up(study.records(), backbone_of, trained)


def _may_be_trained(trial: TrialRecord) -> bool:
    is_whole = trial.state is TrialState.COMPLETE
    is_stopped = trial.state in {TrialState.PAUSED, TrialState.PRUNED} and trial.rung is not None and trial.rung > 0
    return (is_whole or is_stopped) and trial.repeats is None


def folder_beside(folder: StudyFolder, trial: int | None) -> tuple[int, StudyFolder]:
    """The trial to train beside the final training, and the study's folder with that training.

    trial: its number; None for `runner_up_of`. Raises StudyError if there is no final training yet, if it is the same
    trial's, or if no trial has another backbone.
    """
    main = _trained(folder)
    if main is None:
        raise StudyError(f"{folder.root} has no final training to train another one beside: 'carsearch retrain' first")
    if trial is None:
        found = runner_up_of(folder)
        if found is None:
            raise StudyError(
                f"{folder.root}: no other backbone has a trial beyond its first stage; an average gains little from"
                " another trial of the same one, but '--trial N' trains it"
            )
        trial = found.number
    if trial == main:
        raise StudyError(f"trial {trial:04d} is the one of the final training: give another '--trial'")
    return trial, folder.beside(trial)


def _trained(folder: StudyFolder) -> int | None:
    """Number of the trial of the study's own final training, once that is whole."""
    return read_scores(folder.main.scores).trial if is_final_whole(folder.main) else None
