"""The paths of all files in a study's folder, `results/<study>/`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The paths of one study. Creates and reads no files."""

    root: Path
    final: str = "retrain"
    """Name of the folder of its final training; another one for a training beside it, see `beside`."""

    @property
    def name(self) -> str:
        """The study's name, which is the folder's name."""
        return self.root.name

    @property
    def experiment(self) -> Path:
        """The experiment file, resolved and frozen."""
        return self.root / "experiment.yaml"

    @property
    def policies(self) -> Path:
        """Copies of the user's own augmentation policies; absent if the experiment names none."""
        return self.root / "policies"

    @property
    def split(self) -> Path:
        """Assignment of photos to training and validation."""
        return self.root / "split.csv"

    @property
    def folds(self) -> Path:
        """Assignment of photos to folds; absent if nothing is trained on folds."""
        return self.root / "folds.csv"

    @property
    def extra(self) -> Path:
        """Extra photos for the final training; absent without `data.extra`."""
        return self.root / "extra.csv"

    @property
    def unlabelled(self) -> Path:
        """Photos that may get pseudo-labels; absent without photos to predict."""
        return self.root / "unlabelled.csv"

    def pseudo_labels(self, number: int) -> Path:
        """The pseudo-labelled photos that a training trained on, once it has begun."""
        return self.trial(number) / "pseudo.csv"

    @property
    def quarantine(self) -> Path:
        """Unusable photos, each with its reason."""
        return self.root / "quarantine.csv"

    @property
    def log(self) -> Path:
        """Optuna's journal, the source of truth."""
        return self.root / "study.log"

    @property
    def trials(self) -> Path:
        """One folder per trial."""
        return self.root / "trials"

    def trial(self, number: int) -> Path:
        """One trial's folder: configuration, attempts, TensorBoard events."""
        return self.trials / f"{number:04d}"

    def probabilities(self, number: int, epoch: int) -> Path:
        """A trial's probabilities for the validation and holdout photos after an epoch, counted from 1."""
        return self.trial(number) / "probabilities" / f"epoch-{epoch:04d}.npz"

    def output_name(self, number: int, attempt: int) -> str:
        """Output of a trial's attempt, including its traceback; relative to the study's folder."""
        return f"{self.trials.name}/{number:04d}/attempt-{attempt}/output.log"

    @property
    def requests(self) -> Path:
        """Requests of `carsearch trial` that the running search has not taken yet; absent without any."""
        return self.root / "requests"

    @property
    def retrain(self) -> Path:
        """The final training."""
        return self.root / self.final

    @property
    def main(self) -> "StudyFolder":
        """With the study's own final training, which report and submission are about."""
        return StudyFolder(self.root)

    def beside(self, trial: int) -> "StudyFolder":
        """With the final training of another trial, which `carsearch ensemble` averages with the study's own."""
        return StudyFolder(self.root, f"retrain-{trial:04d}")

    @property
    def retrain_config(self) -> Path:
        """The final training's configuration, written last when it is created: without it, that was cut off."""
        return self.retrain / "config.json"

    @property
    def retrain_study(self) -> "StudyFolder":
        """The final training as a study of its own: its log, its split or folds, its trials."""
        return StudyFolder(self.retrain)

    @property
    def out_of_fold(self) -> Path:
        """Probabilities of the folds' models for the photos that each one did not train on."""
        return self.retrain / "out_of_fold.npz"

    @property
    def unseen(self) -> Path:
        """Probabilities of each fold's model for photos that none of them has seen."""
        return self.retrain / "unseen.npz"

    @property
    def retrain_output(self) -> Path:
        """Output of the process that scored the final training."""
        return self.retrain / "output.log"

    @property
    def recipe(self) -> Path:
        """The final training's configuration as an experiment file for `carsearch train`."""
        return self.retrain / "recipe.yaml"

    @property
    def retrain_reports(self) -> Path:
        """Epochs of final trainings by older versions, one JSON object per line. Newer ones have a study."""
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
    def ensemble(self) -> Path:
        """The ensemble of what the study has trained."""
        return self.root / "ensemble"

    @property
    def ensemble_model(self) -> Path:
        """The ensemble in one file; absent if it does not help."""
        return self.ensemble / "model.keras"

    @property
    def ensemble_scores(self) -> Path:
        """What the ensemble is worth, and what it consists of."""
        return self.ensemble / "scores.json"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    @property
    def summary(self) -> Path:
        """TensorBoard runs about the search as a whole and its best models, written with the report."""
        return self.root / "summary"

    @property
    def mistakes(self) -> Path:
        """Wrongly classified photos of the best model."""
        return self.root / "mistakes.csv"

    @property
    def submission(self) -> Path:
        """The submission for the contest."""
        return self.root / "submission.csv"
