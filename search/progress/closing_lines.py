"""The last lines of a command: why it ended, what won with which settings, and what to run next."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from carcls.dataset.unlabelled import asks_for_submission
from carcls.errors import DataError
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.search_settings import SearchSettings
from search.policy.budget import is_used_up
from search.policy.finals import due_share
from search.policy.records import TrialRecord, TrialState, searched
from search.progress.summary import best_text, leading_trial, winner_line
from search.study.ensemble_scores import EnsembleScores, read_ensemble
from search.study.expected import expected_winner
from search.study.final_scores import Scores, expected_lines, read_scores
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun, command_of
from search.study.study import Study
from search.terminal.console import printable
from search.terminal.formatting import count_text, value_text


def reached_limits(
    settings: SearchSettings,
    *,
    trials: int,
    hours: float,
    gpu_hours: float,
    exhausted: bool,
    whole_reserve: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """(key, clause) of each limit that ended the search. Pure.

    trials: number proposed. exhausted: whether `search.budget` may have ended it: the study's flag that the remaining
    hours are reserved for the finals. whole_reserve: share of them that the finals still need, if a whole run's hours
    may have ended the search instead; a budget then counts only if it is used up itself.
    """
    limits = []
    if exhausted:
        budget = settings.budget
        spent = ((hours, budget.hours, "hours"), (gpu_hours, budget.gpu_hours, "gpu_hours"))
        shares = [
            (used / limit, limit, name)
            for used, limit, name in spent
            if limit is not None and (whole_reserve is None or is_used_up(used, limit, whole_reserve))
        ]
        if shares:  # of two limits, the one with the larger share used
            _, limit, name = max(shares)
            limits.append((f"search.budget.{name}", f"search.budget.{name} ({limit:g}) are used up"))
    if trials >= settings.trials:
        limits.append(("search.trials", f"all {settings.trials} trials of search.trials have run"))
    return tuple(limits)


def search_closing(
    folder: StudyFolder, experiment: Experiment, study: Study, *, goes_on: bool = False
) -> tuple[str, ...]:
    """After a finished search: why it ended, its winner, how to extend it, and the next step.

    goes_on: the command goes on with the final training by itself, so no other command is named.
    """
    records = study.records()
    if study.is_recording:
        return (f"ended: {count_text(_complete(records), 'training')} recorded",)
    limits = limits_of(study, experiment)
    why = " and ".join(ended_clauses(study, limits)) or "nothing left to try"
    more = "".join(f" --set {key}=..." for key, _ in limits)
    outcome = (f"ended: {why}", *_winner_lines(records), *winner_expected_lines(folder, experiment, study))
    if goes_on and _complete(records):
        return outcome
    if _complete(records) and (command := command_of(folder, study)) is not None:
        return (*outcome, f"next: {command}")
    return (
        *outcome,
        *([f"to extend it: carsearch resume {folder.root}{more}"] if more else []),
        f"next: carsearch retrain {folder.root}"
        if _complete(records)
        else f"next: carsearch resume {folder.root}{more}, because no trial has finished all its stages",
    )


def limits_of(study: Study, experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """See `reached_limits`."""
    records, finalists = study.records(), experiment.search.finalists
    by = study.exhausted_by
    may_be_whole = by is None and WholeRun.of(study) is not None  # older studies do not say
    return reached_limits(
        experiment.search,
        trials=len(searched(records)),
        hours=study.elapsed_s / 3600,
        gpu_hours=study.gpu_meter.used_s(study.trained_s) / 3600,
        exhausted=study.budget_exhausted and not by,
        whole_reserve=due_share(records, finalists, trained_s=study.trained_s) if may_be_whole else None,
    )


def ended_clauses(study: Study, limits: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Why a search ended; empty if nothing was left to try. limits: see `limits_of`."""
    whole, clauses = WholeRun.of(study), tuple(clause for _, clause in limits)
    if whole is None or any(key.startswith("search.budget.") for key, _ in limits):
        return clauses
    if study.budget_exhausted:
        return (*clauses, f"the search's part of --hours {study.exhausted_by or whole.hours:g} is used up")
    # With trials left, the scheduler starts none that is not expected to end.
    return clauses or (f"no other trial can end within the search's part of --hours {whole.hours:g}",)


def _winner_lines(records: tuple[TrialRecord, ...]) -> tuple[str, ...]:
    best = leading_trial(records)
    if best is None:
        return ()
    is_whole = best.state is TrialState.COMPLETE
    line = winner_line(records) or (
        f"{'winner' if is_whole else 'best so far'}: trial {best.number:04d}"
        f"{', the baseline' if best.is_baseline else ''}; {best_text(best)}"
    )
    return line, f"its settings: {settings_text(best.params)}"


def winner_expected_lines(folder: StudyFolder, experiment: Experiment, study: Study) -> tuple[str, ...]:
    """The winner's expected accuracy on new photos, as one line; empty if unknown."""
    found = expected_winner(folder, study, experiment.data.root, seed=experiment.search.seed)
    best = leading_trial(study.records())
    if found is None or best is None or best.number != found.number:
        return ()
    expected = found.expected
    return (
        f"expect on new photos: accuracy {expected.accuracy:.3f} ({expected.low:.3f} to {expected.high:.3f}); the"
        f" {found.validated:.3f} above was measured on the photos that chose it",
    )


def expectations(folder: StudyFolder, experiment: Experiment, study: Study) -> tuple[str, ...]:
    """The expected accuracy on new photos, of the final model and the ensemble if there are any, else of the winner."""
    if folder.scores.exists():
        ensemble = read_ensemble(folder)
        together = ensemble.expected if ensemble is not None else None
        try:
            own = expected_lines(read_scores(folder))
        except StudyError as error:
            own = (str(error),)
        return (
            *(f"final model: {line}" for line in own),
            *([f"ensemble: {together.line}"] if together is not None else []),
        )
    return winner_expected_lines(folder, experiment, study)


def _complete(records: tuple[TrialRecord, ...]) -> int:
    return sum(record.state is TrialState.COMPLETE for record in records)


def settings_text(params: Mapping[str, object]) -> str:
    """All parameters on one line, as `name=value` with shortened numbers. Pure."""
    if not params:
        return "those of the file, which has no domains"
    return printable(" ".join(f"{name}={value_text(value)}" for name, value in params.items())).replace("\n", " ")


def retrain_closing(folder: StudyFolder, scores: Scores, *, epochs: int, trial: int | None) -> tuple[str, ...]:
    """After a final training: what it trained, and its settings."""
    whose = "the file's recipe" if trial is None else f"trial {trial:04d}"
    params = Study.open(folder.root, read_only=True).record(trial).params if trial is not None else {}
    best = f"the best was epoch {scores.best_epoch}"
    on = ""
    if scores.members:
        on = f" on each of {scores.folds} folds"
        best = f"the best were epochs {', '.join(str(member.best_epoch) for member in scores.members)}"
    after = ""
    if scores.refit is not None:
        after = f"; then {sum(count for _, count in scores.refit.stages)} epochs on all {scores.refit.photos:,} photos"
        on = on or (" on the study's split" if scores.extra or scores.pseudo else " by the search")
    return (
        f"ended: all {epochs} epochs of {whose} are trained{on}; {best}{after}",
        *([f"its settings: {settings_text(params)}"] if params else []),
    )


def next_after_training(folder: StudyFolder, experiment: Experiment, model: Path | None = None) -> str:
    """The next step with a model. model: None for the final one."""
    with contextlib.suppress(DataError):  # two folders of photos to predict: ambiguous
        if asks_for_submission(experiment.data.root, experiment.data.layout):
            return f"next: carsearch submit {folder.root}{f' --model {model}' if model else ''}"
    return f"next: carsearch predict {model or folder.model} PHOTO_OR_FOLDER..."


def submit_closing(
    folder: StudyFolder, scores: Scores | EnsembleScores | None, *, rows: int, unread: int, model: Path | None = None
) -> tuple[str, ...]:
    """After a submission: its rows, its model, and the next step.

    scores: of the model; None for one that is not the study's, and if the final training was killed after it wrote its
    model. model: None for the final one.
    """
    left = f", {unread:,} of them the most frequent class" if unread else ""
    return (
        f"ended: all {rows:,} rows have a prediction{left}",
        *([_by(scores)] if scores else []),
        f"next: hand in {folder.submission}, or classify other photos: carsearch predict {model or folder.model}"
        " PHOTO_OR_FOLDER...",
    )


def _by(scores: Scores | EnsembleScores) -> str:
    if isinstance(scores, EnsembleScores) and not scores.is_kept:
        reported = f"cross-fitted accuracy {scores.single_accuracy:.4f}, log-loss {scores.single_log_loss:.4f}"
        return f"by: {scores.best} alone, as no ensemble is sure to help; {reported}"
    if isinstance(scores, EnsembleScores):
        expected = (scores.expected.line,) if scores.expected is not None else ()
        reported = f"cross-fitted accuracy {scores.fitted_accuracy:.4f}, log-loss {scores.fitted_log_loss:.4f}"
        return "; ".join([f"by: an ensemble of {scores.models} models", reported, *expected])
    whose = "the file's recipe" if scores.trial is None else f"trial {scores.trial:04d}, retrained"
    validated = "out-of-fold" if scores.out_of_fold else "validation"
    reported = f"by: {whose}; {validated} accuracy {scores.tta_accuracy:.4f}, log-loss {scores.tta_log_loss:.4f}"
    return "; ".join([reported, *expected_lines(scores)])
