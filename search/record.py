"""Curves for the simulator: a sample that fills the space, every configuration trained to its end.

A recording is a search whose policy stops nobody: it is resumed, shown and kept as any other study, and its table can
be written at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.errors import CurvesError
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.settings import RecordSettings
from search.experiment.space import Space
from search.folder import StudyFolder
from search.policy.curves import Curve, CurvePoint, write_curves
from search.policy.policy import Proposal
from search.policy.records import TrialRecord, TrialState
from search.policy.sampler import spread_out
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Wait
from search.study import Study


@dataclass(frozen=True)
class RecordingPolicy:
    """Every trial to its end: first the baseline and points that fill the space, then repetitions of the first ones."""

    space: Space
    baseline: Mapping[str, Value]
    settings: RecordSettings
    seed: int

    @property
    def total(self) -> int:
        """Trainings in all."""
        repeated = min(self.settings.repeated, self.settings.configurations)
        return self.settings.configurations + repeated * (self.settings.seeds - 1)

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """What was interrupted, then what is new; an exhausted budget ends both."""
        waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
        if waiting is not None and not budget.exhausted:
            return Continue(waiting.number, waiting.stage_count - 1)
        if len(trials) < self.total and not budget.exhausted:
            return NewTrial()
        return Wait() if any(trial.state is TrialState.RUNNING for trial in trials) else Finished()

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """Trial 0 is the baseline, trial n of the first ones is point n - 1; then they come again, with other seeds."""
        number, repetition = len(trials), 0
        if number >= self.settings.configurations:
            repeated = min(self.settings.repeated, self.settings.configurations)
            repetition, number = divmod(number - self.settings.configurations, repeated)
            repetition += 1
        if number == 0:
            return Proposal(dict(self.baseline), is_baseline=True, repetition=repetition)
        return Proposal(spread_out(self.space, number=number - 1, seed=self.seed), repetition=repetition)

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """The last stage: nobody is stopped."""
        return stage_count - 1


def recording_policy(experiment: Experiment) -> RecordingPolicy:
    """For an experiment that can be recorded.

    Raises CurvesError where it holds no photos back as a holdout, or time for finals that a recording does not have.
    """
    if experiment.data.holdout is None:
        raise CurvesError(
            f"{experiment.path}: data.holdout: curves need unseen photos; add `holdout: {{fraction: 0.17}}`"
        )
    if experiment.search.finalists.count:
        raise CurvesError(
            f"{experiment.path}: search.finalists: a recording repeats what `record.repeated` says; set the count to 0"
        )
    return RecordingPolicy(experiment.space, experiment.baseline, experiment.record, experiment.search.seed)


def write_table(folder: StudyFolder, path: Path) -> int:
    """All trainings that have ended, in order of their numbers; returns how many. A recording may run meanwhile."""
    study = Study.open(folder.root, read_only=True)
    ended = [record for record in study.records() if record.state is TrialState.COMPLETE or record.infeasible]
    write_curves(path, [curve_of(record, study.config(record.number).seed) for record in ended], name=study.name)
    return len(ended)


def curve_of(record: TrialRecord, seed: int) -> Curve:
    """A trial as a curve. Raises CurvesError where an epoch has no holdout score."""
    return Curve(
        params=record.params,
        seed=seed,
        stage_count=record.stage_count,
        points=tuple(CurvePoint.of(report) for report in record.reports),
        infeasible=record.infeasible,
        is_baseline=record.is_baseline,
    )
