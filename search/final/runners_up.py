"""Which other trial to train besides the winner, so that `carsearch ensemble` can average their final trainings.

On the recorded trainings an average gains from another backbone, and not from another trial of the same one
(`python -m benchmarks.runners_up`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from carcls.config import TrainConfig
from carcls.frames import Frame, frame_of, take_photos_alike
from search.errors import ExperimentError, StudyError
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.policy.records import Rank, TrialRecord, TrialState
from search.progress.summary import winner
from search.study.final_scores import read_scores
from search.study.finals_beside import finals_beside, is_final_whole, trial_beside
from search.study.folder import StudyFolder
from search.study.study import Study

Backbone = tuple[str, float]
"""Name and width."""

_ALPHA = ".alpha"
"""How parameters end that are a backbone's width."""
_WORST: Rank = (float("-inf"), float("-inf"))


def runner_up(
    trials: Sequence[TrialRecord], backbone_of: Callable[[TrialRecord], Backbone], trained: Collection[Backbone]
) -> TrialRecord | None:
    """The best trial of the best backbone that no final training has yet; None if there is none. Pure.

    A search stops most trials of some backbones and none of others, so backbones are compared at the last stage that
    all of them have ended, each by its best trial until then. Left out are trials that ended no stage beyond their
    first, and repeats. trained: backbones that have a final training.
    """
    by_backbone: dict[Backbone, list[TrialRecord]] = {}
    for one in trials:
        if _may_be_trained(one) and one.best_rank and (backbone := backbone_of(one)) not in trained:
            by_backbone.setdefault(backbone, []).append(one)
    if not by_backbone:
        return None
    shared = min(max(one.rung or 0 for one in alike) for alike in by_backbone.values())
    best = max(by_backbone.values(), key=lambda alike: max(_until(one, shared) for one in alike))
    return max(best, key=lambda one: (one.best_rank, -one.number))


def _until(trial: TrialRecord, stage: int) -> tuple[Rank, int]:
    """A trial's value until the end of a stage, and what decides between equals. The worst if it did not get there."""
    ranks = [rank for number in range(stage + 1) if (rank := trial.rung_rank(number)) is not None]
    return (max(ranks) if ranks and trial.has_ended(stage) else _WORST), -trial.number


def runner_up_of(folder: StudyFolder, experiment: Experiment) -> TrialRecord | None:
    """The study's: the trial whose training beside the final one was begun and not finished, else a new one, or None.

    None also before the final training. Folders that are named after no trial, or that hold no training because its
    creation was cut off, do not count. Raises StudyError if the study cannot be read.
    """
    main = _trained(folder)
    if main is None:
        return None
    study = Study.open(folder.root, read_only=True)
    trials = study.records()
    beside = {
        number: one
        for one in finals_beside(folder)
        if (number := trial_beside(one)) is not None and number < len(trials) and one.retrain_config.exists()
    }
    begun = next((number for number, one in beside.items() if not is_final_whole(one)), None)
    if begun is not None:
        return trials[begun]
    return other_backbone(study, experiment, main, *beside, fitted=_fitted(folder))


def _fitted(folder: StudyFolder) -> Frame | None:
    """What the final training fits photos to; None for one of an older version."""
    own = folder.retrain_study
    return _last_frame(Study.open(own.root, read_only=True).config(0)) if own.log.exists() else None


def _last_frame(config: TrainConfig) -> Frame:
    return frame_of(config.stage_size(len(config.stages) - 1))


def other_backbone(
    study: Study, experiment: Experiment, main: int, *beside: int, fitted: Frame | None = None
) -> TrialRecord | None:
    """The trial that `runner_up` finds beside the trials with a final training, or None.

    experiment: with the settings of the next final training. main: the trial whose final training the others are
    averaged with. fitted: what that one fits photos to; None: what the experiment says. Left out are trials whose final
    training would see photos otherwise, see `take_photos_alike`, or cannot be configured.
    """
    kind_of, trials = _kinds(study, experiment), study.records()
    own = kind_of(trials[main])
    if own is None:
        return None
    trained = {own[0], *(kind[0] for number in beside if (kind := kind_of(trials[number])) is not None)}
    alike: dict[int, Backbone] = {}
    for one in filter(_may_be_trained, trials):
        if (kind := kind_of(one)) is not None and take_photos_alike([fitted or own[1], kind[1]]):
            alike[one.number] = kind[0]
    return runner_up([one for one in trials if one.number in alike], lambda trial: alike[trial.number], trained)


def _kinds(study: Study, experiment: Experiment) -> Callable[[TrialRecord], tuple[Backbone, Frame] | None]:
    """A function from a trial to its backbone and what its final training fits photos to; None if it has none."""
    known: dict[frozenset[tuple[str, Value]], tuple[Backbone, Frame] | None] = {}

    def kind_in(trial: TrialRecord) -> tuple[Backbone, Frame] | None:
        try:
            config = experiment.retrain_config(study.config(trial.number))
        except ExperimentError:
            return None
        return (config.backbone, config.alpha), _last_frame(config)

    def kind_of(trial: TrialRecord) -> tuple[Backbone, Frame] | None:
        if trial.is_of_portfolio:  # two of the user's own recipes may share a name
            return kind_in(trial)
        # Text names a backbone, a section with one, or a rectangle. Other numbers differ from trial to trial.
        named = frozenset(one for one in trial.params.items() if isinstance(one[1], str) or one[0].endswith(_ALPHA))
        if named not in known:
            known[named] = kind_in(trial)
        return known[named]

    return kind_of


def _may_be_trained(trial: TrialRecord) -> bool:
    is_whole = trial.state is TrialState.COMPLETE
    is_stopped = trial.state in {TrialState.PAUSED, TrialState.PRUNED} or trial.is_cut_off
    return (is_whole or (is_stopped and trial.rung is not None and trial.rung > 0)) and trial.repeats is None


def folder_beside(folder: StudyFolder, trial: int | None, experiment: Experiment) -> tuple[int, StudyFolder]:
    """The trial to train beside the final training, and the study's folder with that training.

    trial: its number; None for `runner_up_of`. Raises StudyError if there is no final training yet, if it is the same
    trial's, if there is no trial of this number, or if no trial has another backbone.
    """
    main = _trained(folder)
    if main is None:
        raise StudyError(f"{folder.root} has no final training to train another one beside: 'carsearch retrain' first")
    if trial is None:
        found = runner_up_of(folder, experiment)
        if found is None:
            raise StudyError(
                f"{folder.root}: no other backbone has a trial beyond its first stage whose photos are fitted as those"
                " of the final training; an average gains little from another trial of the same one, but '--trial N'"
                " trains it"
            )
        trial = found.number
    else:
        trial = winner(Study.open(folder.root, read_only=True).records(), trial).number
    if trial == main:
        raise StudyError(f"trial {trial:04d} is the one of the final training: give another '--trial'")
    return trial, folder.beside(trial)


def with_folds_beside(there: StudyFolder, experiment: Experiment, *, is_asked: bool, begun: int) -> Experiment:
    """The experiment with folds by which a training beside can be averaged with the study's own final training.

    there: where it is trained. is_asked: whether the user asks for the experiment's number of folds; else it is that
    of the own final training, whose folds may be more than the file asks for. begun: folds of a training there that is
    to be continued, or 0. Raises StudyError if a single training is asked for beside folds.
    """
    own = read_scores(there.main)
    if not own.out_of_fold:
        return experiment
    if not is_asked:
        return replace(experiment, folds=begun if begun > 1 else own.folds)
    if experiment.folds == 1:
        raise StudyError(
            f"retrain.folds: 1 predicts no photo out of fold, so 'carsearch ensemble' could not average it with the"
            f" {own.folds} folds of the final training: leave it out, or ask for more"
        )
    return experiment


def _trained(folder: StudyFolder) -> int | None:
    """Number of the trial of the study's own final training, once that is whole."""
    return read_scores(folder.main).trial if is_final_whole(folder.main) else None
