"""Records curves for the simulator: a sample that fills the space, with every configuration trained to its end.

A recording is a search whose policy stops no trial. It is resumed, shown and stored like any other study, and its table
can be written at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.scoring.evidence import Evidence, evidence_labels
from carcls.splits.k_folds import Folds, read_folds
from search.errors import CurvesError
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.settings import RecordSettings
from search.experiment.space import Space
from search.policy.policy import Proposal
from search.policy.records import TrialRecord, TrialState
from search.policy.sampler import sobol_point
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Wait
from search.simulator.curves import Curve, CurvePoint, write_curves
from search.simulator.evidence_table import EvidenceTable, recorded, write_evidence
from search.study.folder import StudyFolder
from search.study.study import Study


@dataclass(frozen=True)
class RecordingPolicy:
    """Trains every trial to its end: the baseline, points that fill the space, then repetitions of the first ones."""

    space: Space
    baseline: Mapping[str, Value]
    settings: RecordSettings
    seed: int

    @property
    def total(self) -> int:
        """Total number of trainings."""
        record = self.settings
        if record.folds is not None:
            return record.configurations * record.folds
        return record.configurations + min(record.repeated, record.configurations) * (record.seeds - 1)

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """Interrupted trials first, then new ones. An exhausted budget ends both."""
        waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
        if waiting is not None and not budget.exhausted:
            return Continue(waiting.number, waiting.stage_count - 1)
        if len(trials) < self.total and not budget.exhausted:
            return NewTrial()
        return Wait() if any(trial.state is TrialState.RUNNING for trial in trials) else Finished()

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """Configuration 0 is the baseline, and configuration n is point n - 1 of the Sobol sequence.

        With folds, each configuration is trained on every fold before the next one. Without folds, the first ones are
        repeated at the end with other seeds.
        """
        number, record = len(trials), self.settings
        if record.folds is not None:
            number, fold = divmod(number, record.folds)
            return self._configuration(record.first + number, fold=fold)
        if number < record.configurations:
            return self._configuration(record.first + number)
        repetition, number = divmod(number - record.configurations, min(record.repeated, record.configurations))
        return self._configuration(record.first + number, repetition=repetition + 1)

    def _configuration(self, number: int, *, repetition: int = 0, fold: int | None = None) -> Proposal:
        if number == 0:
            return Proposal(dict(self.baseline), is_baseline=True, repetition=repetition, fold=fold)
        point = sobol_point(self.space, number=number - 1, seed=self.seed)
        return Proposal(point, repetition=repetition, fold=fold)

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """The last stage, since no trial is stopped."""
        return stage_count - 1


def recording_policy(experiment: Experiment) -> RecordingPolicy:
    """The policy for recording an experiment.

    Raises CurvesError if the experiment has no holdout, or has finalists, since a recording has no finals.
    """
    if experiment.data.holdout is None:
        raise CurvesError(
            f"{experiment.path}: data.holdout: curves need unseen photos; add `holdout: {{fraction: 0.17}}`"
        )
    if experiment.search.finalists.count:
        raise CurvesError(
            f"{experiment.path}: search.finalists: a recording repeats only what `record.repeated` says; set the count"
            " to 0"
        )
    return RecordingPolicy(experiment.space, experiment.baseline, experiment.record, experiment.search.seed)


def write_table(folder: StudyFolder, path: Path, data_root: Path) -> int:
    """Write the curves of all trainings that have ended, in order of their numbers. Returns their count.

    The recording may still be running. With folds, the probabilities of the complete trainings go into a second file,
    `evidence_path(path)`. Raises CurvesError if an epoch has no holdout score.
    """
    study = Study.open(folder.root, read_only=True)
    ended = [record for record in study.records() if record.state is TrialState.COMPLETE or record.infeasible]
    write_curves(path, [curve_of(record, study.config(record.number).seed) for record in ended], name=study.name)
    if folder.folds.is_file():
        whole = [record for record in ended if record.state is TrialState.COMPLETE]
        write_evidence(evidence_path(path), _evidence(folder, whole, read_folds(folder.folds, data_root)))
    return len(ended)


def evidence_path(table: Path) -> Path:
    """Path of the file with the probabilities of a table's trainings."""
    return table.with_name(f"{table.name.removesuffix('.gz').removesuffix('.jsonl')}.npz")


def _evidence(folder: StudyFolder, records: Sequence[TrialRecord], folds: Folds) -> EvidenceTable:
    held_out = folds.holdout
    if held_out is None:
        raise CurvesError(f"{folder.folds}: has no holdout; record it again with data.holdout")
    classes = len(folds.class_names)
    labels = tuple(evidence_labels(folds.split(number).validation.labels, classes) for number in range(folds.count))
    trainings = []
    for record in records:
        epochs = [Evidence.read(folder.probabilities(record.number, report.epoch)) for report in record.reports]
        ends = [report.epoch for report in record.reports if report.stage_ended]
        fold = record.fold or 0
        trainings.append(recorded(fold, epochs, labels[fold], ends))
    return EvidenceTable(labels, evidence_labels(held_out.labels, classes), tuple(trainings))


def curve_of(record: TrialRecord, seed: int) -> Curve:
    """Convert a trial to a curve. Raises CurvesError if an epoch has no holdout score."""
    return Curve(
        params=record.params,
        seed=seed,
        stage_count=record.stage_count,
        points=tuple(CurvePoint.of(report) for report in record.reports),
        infeasible=record.infeasible,
        is_baseline=record.is_baseline,
    )
