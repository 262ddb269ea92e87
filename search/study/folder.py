"""Where a study's files lie: every path of `results/<study>/`, named once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of one study. Knows names only: creates and reads nothing."""

    root: Path

    @property
    def name(self) -> str:
        """The study's name: the folder's own."""
        return self.root.name

    @property
    def experiment(self) -> Path:
        """The experiment file, resolved and frozen."""
        return self.root / "experiment.yaml"

    @property
    def policies(self) -> Path:
        """Copies of the user's own augmentation policies that the experiment names; absent where it names none."""
        return self.root / "policies"

    @property
    def split(self) -> Path:
        """Which photo trains and which validates."""
        return self.root / "split.csv"

    @property
    def folds(self) -> Path:
        """Which photo validates in which fold; absent where nothing is trained on folds."""
        return self.root / "folds.csv"

    @property
    def quarantine(self) -> Path:
        """Photos that cannot be used, each with its reason."""
        return self.root / "quarantine.csv"

    @property
    def log(self) -> Path:
        """The record of truth: Optuna's journal."""
        return self.root / "study.log"

    @property
    def trials(self) -> Path:
        """One folder per trial."""
        return self.root / "trials"

    def trial(self, number: int) -> Path:
        """One trial's folder: configuration, attempts, TensorBoard events."""
        return self.trials / f"{number:04d}"

    def probabilities(self, number: int, epoch: int) -> Path:
        """What a trial said of the validation and holdout photos after an epoch, counted from 1."""
        return self.trial(number) / "probabilities" / f"epoch-{epoch:04d}.npz"

    def output_name(self, number: int, attempt: int) -> str:
        """What a trial's attempt printed, its traceback included; relative to the study's folder."""
        return f"{self.trials.name}/{number:04d}/attempt-{attempt}/output.log"

    @property
    def retrain(self) -> Path:
        """The final training."""
        return self.root / "retrain"

    @property
    def retrain_study(self) -> "StudyFolder":
        """The same as a study of its own: its log, its split or folds, its trials."""
        return StudyFolder(self.retrain)

    @property
    def out_of_fold(self) -> Path:
        """What the models of several folds said of the photos that each did not train on."""
        return self.retrain / "out_of_fold.npz"

    @property
    def retrain_output(self) -> Path:
        """What the process printed that scored the final training."""
        return self.retrain / "output.log"

    @property
    def recipe(self) -> Path:
        """The final training's configuration as an experiment file for `carsearch train`."""
        return self.retrain / "recipe.yaml"

    @property
    def retrain_reports(self) -> Path:
        """The final training's epochs, one JSON object a line, as carsearch wrote them before it had a study."""
        return self.retrain / "reports.jsonl"

    @property
    def scores(self) -> Path:
        """Validation scores of the final training, plain and with TTA."""
        return self.retrain / "scores.json"

    @property
    def model(self) -> Path:
        """The final classifier in one file."""
        return self.retrain / "model.keras"

    @property
    def report(self) -> Path:
        """The page to read afterwards."""
        return self.root / "report.html"

    @property
    def submission(self) -> Path:
        """The contest's answer."""
        return self.root / "submission.csv"
