"""The sections of an experiment file beside `train`: frozen, typed, every default here and nowhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from carcls.catalog import nearest_name
from carcls.config import RankBy
from carcls.dataset.layouts import Layout

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ValidationSettings(_Frozen):
    """The one split of the study: stratified, equal photos on one side."""

    fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of the labelled photos that are never trained on."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Draws the split and the holdout."""


class HoldoutSettings(_Frozen):
    """Photos that nothing sees but the score of each epoch: no training, no choice. Drawn by `validation.seed`."""

    fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the labelled photos, beside those of validation."""


class DataSettings(_Frozen):
    """Which photos."""

    root: Path
    """Folder with the photos; its layout is found by what lies in it. Absolute once loaded, as the other paths."""
    labels: Path | None = None
    """CSV file with a path, relative to `root`, and a label in each row; null: train.csv, labels.csv, or folders."""
    path_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of paths; null: the one with a usual name, such as `path` or `file`."""
    label_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of labels; null: the one with a usual name, such as `label` or `class`."""
    test: Path | None = None
    """Folder of photos to predict; null: `test_upload` or `test` in `root`, if there is one."""
    sample: Path | None = None
    """Sample submission; null: `sample-submission.csv` in `root`, in any spelling, if there is one and no `test`."""
    extension: str | None = None
    """Ending of photos that CSV files name without it, such as .jpg; null: the one that fits."""
    nested: bool = False
    """Whether class folders lie in folders, `Audi/A4`: each folder with photos is then a class."""
    validation: ValidationSettings = ValidationSettings()
    holdout: HoldoutSettings | None = None
    """Null: no photos are held back beside validation."""

    @field_validator("extension")
    @classmethod
    def _an_ending(cls, extension: str | None) -> str | None:
        if extension is not None and not extension.removeprefix(".").isalnum():
            raise ValueError(f"expected an ending such as .jpg, found {extension!r}")
        return extension and f".{extension.removeprefix('.')}"

    @field_validator("holdout")
    @classmethod
    def _photos_left_to_train_on(cls, holdout: HoldoutSettings | None, info: ValidationInfo) -> HoldoutSettings | None:
        validation = info.data.get("validation")  # missing where it was refused itself
        if holdout is not None and validation is not None and validation.fraction + holdout.fraction >= 1.0:
            raise ValueError(
                f"fraction: {holdout.fraction:g} and data.validation.fraction {validation.fraction:g} leave no photos"
                " to train on; expected a sum below 1"
            )
        return holdout

    @property
    def holdout_fraction(self) -> float:
        """Share of the labelled photos in the holdout; 0 without one."""
        return 0.0 if self.holdout is None else self.holdout.fraction

    @property
    def layout(self) -> Layout:
        """The same for carcls, which knows no experiment file."""
        return Layout(
            labels=self.labels,
            path_column=self.path_column,
            label_column=self.label_column,
            test=self.test,
            sample=self.sample,
            extension=self.extension,
            nested=self.nested,
        )


class BudgetSettings(_Frozen):
    """When no new segment starts any more; null: no limit."""

    hours: Annotated[float, Field(gt=0.0)] | None = None
    """Wall-clock hours; when they are over, each running trial ends with its epoch and can be resumed."""
    gpu_hours: Annotated[float, Field(gt=0.0)] | None = None
    """Hours of whole GPUs, shares counted as shares; a trial that runs when they are over continues to its rung."""


class SchedulerConfig(_Frozen):
    """Who goes on after a stage."""

    kind: Literal["asha", "adaptive", "none"] = "asha"
    """`adaptive`: as `asha`, but a rung compares trials only while their order there matches their order at the end of
    the last stage but one. `none`: every trial runs all its stages."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """The best 1/reduction_factor of a rung go on."""
    first_rung: Annotated[int, Field(ge=1)] = 1
    """Number of the stage, counted from 1, at whose end trials are first compared."""


class ResourceSettings(_Frozen):
    """What one running trial holds."""

    gpus_per_trial: float | None = None
    """0, or 0.25 to 1; null: 1 where the cluster has GPUs, else 0."""
    cpus_per_trial: Annotated[int, Field(ge=1)] | None = None
    """TensorFlow's threads; null: the GPU's share of its node's cores, or up to 4 where there is no GPU."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _one_gpu_at_most(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1:
            raise ValueError(f"expected at most 1 until data-parallel training exists, found {gpus:g}")
        if gpus is not None and gpus != 0 and gpus < 0.25:
            raise ValueError(f"expected 0 or 0.25 to 1, found {gpus:g}")
        return gpus


class DeadlineSettings(_Frozen):
    """How long a running trial, or the final training, may say nothing: then its process is killed, and a fresh one
    goes on from the last checkpoint."""

    epoch_factor: Annotated[float, Field(ge=2.0)] = 10.0
    """Times the longest wait for an epoch of the same stage so far, as this worker had them."""
    shortest_minutes: Annotated[float, Field(gt=0.0)] = 10.0
    """Never less than this, however short the epochs are."""
    first_epoch_minutes: Annotated[float, Field(gt=0.0)] = 120.0
    """For the first epoch of a stage or of an attempt, which compiles, and may build what the store lacks."""


class CheckpointSettings(_Frozen):
    """What a study keeps on disk of trainings that may go on."""

    quota_gb: Annotated[float, Field(gt=0.0)] | None = None
    """What all checkpoints of the study may take, in 10^9 bytes: beyond it the least useful go; null: no limit."""
    full_disk_minutes: Annotated[float, Field(gt=0.0)] = 60.0
    """How long a search waits for room on a full disk, or for files that every trial needs, before it stops, to be
    resumed."""


class FinalistSettings(_Frozen):
    """The best trials, trained again with other seeds: a score that was not picked for being high."""

    count: Annotated[int, Field(ge=0, le=100)] = 0
    """How many of the best; 0: none. They and the baseline are repeated."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    """Repeats of each."""


class SearchSettings(_Frozen):
    """How the space is searched."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    """Configurations to try, the baseline included."""
    budget: BudgetSettings = BudgetSettings()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Governs what is proposed, and the views of the photos."""
    rank_by: Literal["auto", "accuracy", "log_loss"] = "auto"
    """What weights and trials are ranked by: accuracy on validation, or log-loss after temperature scaling, which has
    less noise. auto: log_loss in new studies, accuracy in those from before there was a choice."""
    sampler: Literal["tpe", "random", "sobol"] = "tpe"
    """`sobol`: points that fill the space evenly, without learning from results."""
    scheduler: SchedulerConfig = SchedulerConfig()
    finalists: FinalistSettings = FinalistSettings()
    """Off unless asked for: they cost as much as many a search (`count` + 1 times `seeds` whole trainings)."""
    resources: ResourceSettings = ResourceSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials that run at once; null: as many as the resources allow."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """Deaths of a trial's process or node without a new epoch between them, after which it has failed. A Python error
    is no death: it fails at once."""
    deadline: DeadlineSettings = DeadlineSettings()
    deterministic: bool = False
    """True: deterministic kernels, and with one trial at a time a repeated search is the same. Slower; on GPUs
    TensorFlow has no such kernel for every operation (depthwise convolution's gradient) and then refuses to run."""
    baseline: Mapping[str, Any] = {}
    """The default recipe: values for domains, a tree like `train` with stages by name; others take their default."""

    @property
    def ranking(self) -> RankBy:
        """What a new study ranks by."""
        return "accuracy" if self.rank_by == "accuracy" else "log_loss"


# The names of carcls.inference.tta.VIEWS, which would bring OpenCV; a test holds them equal.
TTA_VIEWS = ("plain", "flip", "zoom", "zoom_flip", "shift_left", "shift_right", "brighter", "darker")


class TtaSettings(_Frozen):
    """Test-time augmentation of the final model."""

    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("plain", "flip")
    """Candidates: plain, flip, zoom, zoom_flip, shift_left, shift_right, brighter, darker. The model uses those
    with an expected gain."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.9
    """Width of the interval for what TTA saves. A view without a prior is used if its interval is above 0."""

    @field_validator("views")
    @classmethod
    def _known_views(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        for view in views:
            if view not in TTA_VIEWS:
                near = nearest_name(view, TTA_VIEWS)
                hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(TTA_VIEWS)}"
                raise ValueError(f"unknown view {view!r}; {hint}")
        return views


class RetrainSettings(_Frozen):
    """The final training. All other keys are a tree like `train`, laid over the winner's configuration."""

    model_config = ConfigDict(extra="allow")

    folds: Annotated[int, Field(ge=1, le=20)] = 1
    """Trainings, each with another part of the labelled photos as validation; the exported model averages them. 1: one
    training, on the study's own split."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """What the final training changes of a configuration."""
        return self.model_extra or {}


class RecordSettings(_Frozen):
    """What `carsearch record` trains to the end: points that fill the space, some of them several times."""

    configurations: Annotated[int, Field(ge=1, le=100_000)] = 200
    """The baseline included."""
    repeated: Annotated[int, Field(ge=0)] = 30
    """How many of them, from the first on, are trained with other seeds too: they tell the noise."""
    seeds: Annotated[int, Field(ge=1)] = 3
    """Trainings of each of those, the first included."""
    first: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Number of the first configuration: a recording in blocks skips those of earlier blocks."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Each configuration once on each of so many folds, instead of repeats with other seeds; null: no folds."""
    averages: bool = False
    """Whether each training's last epoch is also scored with averages of its last stage's weights."""


class StoreSettings(_Frozen):
    """Where shared artefacts lie. Nothing here changes any result."""

    enabled: bool = True
    """False: photos are decoded whenever they are needed, and frozen passes computed by each trial for itself."""
    root: Path | None = None
    """Folder on each node's own disk; null: $CARSEARCH_STORE, else the user's cache."""
    quota_gb: Annotated[float, Field(gt=0.0)] | None = None
    """What all artefacts there may take, in 10^9 bytes: beyond it the least recently used go; null: no limit."""


class ExperimentSections(_Frozen):
    """The whole file; `train` and the changes in `retrain` are trees that only a chosen configuration can fill."""

    name: Name
    """Name of the study and of its folder under `results`."""
    data: DataSettings
    train: Mapping[str, Any]
    """One training, with domains in place of values."""
    search: SearchSettings = SearchSettings()
    retrain: RetrainSettings = RetrainSettings()
    """The final training: folds, and a tree like `train`; stages by name, or a whole new list."""
    tta: TtaSettings = TtaSettings()
    record: RecordSettings = RecordSettings()
    results: Path = Path("results")
    """Folder of all studies."""
    store: StoreSettings = StoreSettings()
