"""What a study stores of `carsearch run --hours`, read and written by its steps."""

from typing import TYPE_CHECKING

from search.terminal.console import say

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.policy.time_plan import TimePlan
    from search.study.folder import StudyFolder
    from search.study.run_hours import WholeRun


def stored_run(folder: "StudyFolder") -> "WholeRun":
    """What the study stores. Raises StudyError if it was not begun with hours."""
    from search.errors import StudyError
    from search.study.run_hours import WholeRun
    from search.study.study import Study

    whole = WholeRun.of(Study.open(folder.root, read_only=True))
    if whole is None:
        raise StudyError(f"{folder.root} has no hours: give them with 'carsearch run FILE --hours H --or-resume'")
    return whole


def enter_step(folder: "StudyFolder", seconds: float, stage: str) -> str:
    """Records the seconds that a step took, and the step that follows."""
    from search.study.study import Study

    whole = stored_run(folder).after(seconds, stage)
    with Study.open(folder.root) as study:
        whole.keep(study)
    return stage


def choose_model(folder: "StudyFolder", *, uses_ensemble: bool) -> None:
    """Records which model is submitted."""
    from dataclasses import replace

    from search.study.study import Study

    whole = replace(stored_run(folder), uses_ensemble=uses_ensemble)
    with Study.open(folder.root) as study:
        whole.keep(study)


def count_final(folder: "StudyFolder", final: "StudyFolder", seconds: float) -> None:
    """Records that a final training is over, and what it took."""
    from search.study.study import Study

    whole = stored_run(folder).after_final(seconds, final.final)
    with Study.open(folder.root) as study:
        whole.keep(study)


def plan_of(folder: "StudyFolder", whole: "WholeRun", experiment: "Experiment") -> "TimePlan":
    """See `plan_now`. experiment: with its present settings."""
    from search.study.begun_final import plan_now
    from search.study.study import Study

    study = Study.open(folder.root, read_only=True)
    return plan_now(folder, whole, study, study.records(), search_hours=experiment.search.budget.hours)


def show_plan(plan: "TimePlan") -> None:
    """Prints it."""
    from search.policy.time_plan import plan_lines

    for line in plan_lines(plan):
        say(line)
