"""The page's commands to run next, and why the search ended."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.experiment.experiment import Experiment
from search.final.runners_up import runner_up_of
from search.policy.records import TrialRecord, TrialState, searched
from search.policy.time_plan import plan_lines, spent_text
from search.progress.closing_lines import ended_clauses, limits_of, next_after_training
from search.study.begun_final import plan_now
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun, command_of
from search.study.study import Study

_LARGER = 2
"""Factor of a limit in the command that extends a search."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, with the reason to run it."""

    why: str
    text: str


def ended_text(folder: StudyFolder, study: Study, experiment: Experiment) -> str:
    """Why the search ended, as a sentence; that it has not, if so."""
    if study.is_recording or not study.is_finished:
        return "" if study.is_recording else "The search has not ended."
    clauses = ended_clauses(study, limits_of(study, experiment))
    ended = f"The search ended because {' and '.join(clauses) or 'nothing was left to try'}."
    return f"{ended}{_plan_text(folder, study, experiment)}"


def _plan_text(folder: StudyFolder, study: Study, experiment: Experiment) -> str:
    """The plan of a whole run's hours, or what it has taken, as a sentence; empty without one."""
    whole = WholeRun.of(study)
    if whole is None:
        return ""
    plan = plan_now(folder, whole, study, study.records(), search_hours=experiment.search.budget.hours)
    if whole.is_done:
        return f" All steps together took {spent_text(plan)}."
    first, *steps = plan_lines(plan)
    return f" {first[:1].upper()}{first[1:]}; {'; '.join(step.strip() for step in steps)}."


def commands(folder: StudyFolder, experiment: Experiment, study: Study | None) -> tuple[Command, ...]:
    """The next steps in order; empty for a recording."""
    if study is not None and study.is_recording:
        return ()
    if study is not None and (command := command_of(folder, study)) is not None:
        return (Command("Go on with the steps that are left of the hours.", command),)
    root = shlex.quote(str(folder.root))
    found = []
    whole = None if study is None else WholeRun.of(study)
    ensemble = folder.ensemble_model if whole is not None and whole.is_done and whole.uses_ensemble else None
    if ensemble is not None and ensemble.exists():
        found.append(_use(folder, experiment, ensemble))
    elif folder.model.exists():
        found.append(_use(folder, experiment, None))
    if study is None:
        return tuple(found)
    records = study.records()
    if not study.is_finished:
        return (*found, Command("Go on with the search from where it stands.", f"carsearch resume {root}"))
    if not folder.model.exists() and any(record.state is TrialState.COMPLETE for record in records):
        why = "Train the winner with the file's retrain settings, score it, and export one model."
        found.append(Command(why, f"carsearch retrain {root}"))
    if folder.out_of_fold.exists() and runner_up_of(folder, experiment) is not None:
        why = "Train the best trial of another backbone beside the final model. Averages gain most from that."
        found.append(Command(why, f"carsearch retrain {root} --beside && carsearch ensemble {root}"))
    changes = [f"--set {key}={_larger(key, records, experiment)}" for key, _ in limits_of(study, experiment)]
    if changes:
        found.append(Command("Search on; finished trials are kept.", f"carsearch resume {root} {' '.join(changes)}"))
    return tuple(found)


def _use(folder: StudyFolder, experiment: Experiment, ensemble: Path | None) -> Command:
    """The next step with the final model, or with the ensemble's."""
    which = "final model" if ensemble is None else "ensemble"
    step = next_after_training(folder, experiment, ensemble).removeprefix("next: ")
    if not folder.submission.exists() or "submit" not in step:
        return Command(f"Use the {which} on new photos.", step)
    model = shlex.quote(str(ensemble or folder.model))
    why = f"The submission is {folder.submission}. Classify other photos with the {which}."
    return Command(why, f"carsearch predict {model} PHOTO_OR_FOLDER...")


def _larger(key: str, records: Sequence[TrialRecord], experiment: Experiment) -> str:
    if key == "search.trials":
        return str(_LARGER * len(searched(records)))
    budget = experiment.search.budget
    limit = budget.hours if key.endswith(".hours") else budget.gpu_hours
    return f"{_LARGER * (limit or 1.0):g}"
