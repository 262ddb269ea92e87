"""Writes the experiment file for a data folder: look, plan, text, check."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.inspection.weights_at_hand import weights_server_answers
from carcls.system import atomic
from search.bench.results import kept_bench
from search.errors import StartError
from search.experiment.experiment import Experiment, from_text
from search.start.experiment_text import experiment_text
from search.start.plan import Plan, Preset, make_plan
from search.start.survey import Findings, look
from search.terminal.formatting import count_text, duration_text


@dataclass(frozen=True, slots=True)
class Written:
    """An experiment file and why it is as it is."""

    file: Path
    experiment: Experiment
    found: Findings
    plan: Plan

    def lines(self) -> tuple[str, ...]:
        """What was found and chosen, for the terminal."""
        found, plan = self.found, self.plan
        low, high = plan.total_s
        basis = "by what 'carsearch bench' measured here" if plan.is_measured else "an estimate"
        trials = count_text(plan.trials, "trial")
        time = f"time: about {duration_text(low)} to {duration_text(high)} ({basis})"
        if plan.run_hours is not None:
            trials, time = "as many trials as fit", f"time: {duration_text(high)}, as --hours asks"
        backbones = ", ".join(f"{one.backbone}{'' if one.alpha == 1 else f' {one.alpha:g}'}" for one in plan.backbones)
        return (
            f"photos: {found.photos:,} of {found.classes:,} classes ({found.layout}), {found.smallest_class:,} to"
            f" {found.largest_class:,} of a class, {found.to_predict:,} to predict; {found.side_px} px",
            f"machine: {count_text(found.cpus, 'CPU core')}, {count_text(found.gpus, 'GPU')}",
            f"plan: {trials} of {backbones} at {plan.image_size_px} px, the best one again at"
            f" {plan.final_size_px} px{f' on {plan.folds} folds' if plan.folds > 1 else ''}",
            time,
        )


def write_experiment(
    root: Path,
    *,
    preset: Preset,
    name: str,
    file: Path,
    weights: Sequence[Path] = (),
    replace: bool = False,
    run_hours: float | None = None,
    reachable: Callable[[], bool] | None = None,
) -> Written:
    """Writes an experiment file for the photos in `root`.

    run_hours: see `make_plan`. reachable: whether ImageNet weights can be downloaded; by default their server is asked
    if no weights are on this machine. Raises StartError if `file` exists and `replace` is false, ExperimentError if
    `name` is no name of a study, otherwise the errors of `look` and `make_plan`. Nothing is written then.
    """
    check_free(file, replace=replace)
    found = look(root, weights=[place.absolute() for place in weights], reachable=reachable or weights_server_answers)
    plan = make_plan(found, preset, kept_bench(), run_hours=run_hours)
    text = experiment_text(found, plan, name=name, file=file)
    experiment = from_text(text, str(file))
    atomic.write_text(file, text)
    return Written(file, experiment, found, plan)


def check_free(file: Path, *, replace: bool) -> None:
    """Raises StartError if `file` exists and `replace` is false."""
    if file.exists() and not replace:
        raise StartError(f"{file} exists already: choose another file with --output, or overwrite it with --replace")
