"""The sections of an experiment file besides `train`: frozen, typed, and the only place for defaults."""

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
    """The study's split: stratified, with copies of a photo on the same side."""

    fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of the labelled photos that are never trained on."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Draws the split and the holdout."""


class HoldoutSettings(_Frozen):
    """Photos that are scored after each epoch and never used for training or a choice. Drawn by `validation.seed`."""

    fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the labelled photos, in addition to those of validation."""


class DataSettings(_Frozen):
    """Which photos."""

    root: Path
    """Folder with the photos; its layout is detected. Absolute once loaded, like all paths."""
    labels: Path | None = None
    """CSV file with a path, relative to `root`, and a label in each row; null: train.csv, labels.csv, or folders."""
    path_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of paths; null: the one with a common name, such as `path` or `file`."""
    label_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of labels; null: the one with a common name, such as `label` or `class`."""
    group_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of groups, such as a car's or seller's number: photos with one value are never on two sides of a
    split. An empty value is a photo of its own. null: no groups."""
    split_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of your own split: `train`, `val` or `holdout`, in any case (also `training`, `valid`, `validation`,
    `test`). Parts without a photo there are drawn as without the column. null: a `val` folder, or a drawn split."""
    test: Path | None = None
    """Folder of photos to predict; null: `test_upload` or `test` in `root`, if there is one."""
    sample: Path | None = None
    """Sample submission; null: `sample-submission.csv` in `root`, in any spelling, if there is one and no `test`."""
    extension: str | None = None
    """File extension, such as .jpg, of photos that CSV files name without it; null: the one that matches."""
    nested: bool = False
    """Whether class folders are nested, as in `Audi/A4`; each folder with photos is then a class."""
    validation: ValidationSettings = ValidationSettings()
    holdout: HoldoutSettings | None = None
    """Photos that are only scored after each epoch; null: none."""

    @field_validator("extension")
    @classmethod
    def _an_ending(cls, extension: str | None) -> str | None:
        if extension is not None and not extension.removeprefix(".").isalnum():
            raise ValueError(f"expected an ending such as .jpg, found {extension!r}")
        return extension and f".{extension.removeprefix('.')}"

    @field_validator("holdout")
    @classmethod
    def _photos_left_to_train_on(cls, holdout: HoldoutSettings | None, info: ValidationInfo) -> HoldoutSettings | None:
        validation = info.data.get("validation")  # absent if it was invalid itself
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
        """The layout for carcls, which knows no experiment file."""
        return Layout(
            labels=self.labels,
            path_column=self.path_column,
            label_column=self.label_column,
            group_column=self.group_column,
            split_column=self.split_column,
            test=self.test,
            sample=self.sample,
            extension=self.extension,
            nested=self.nested,
        )


class BudgetSettings(_Frozen):
    """Limits after which no new segment starts; null: no limit."""

    hours: Annotated[float, Field(gt=0.0)] | None = None
    """Wall-clock hours; when they are over, each running trial ends with its epoch and can be resumed."""
    gpu_hours: Annotated[float, Field(gt=0.0)] | None = None
    """Hours of whole GPUs, shares counted as shares; a trial that runs when they are over continues to its rung."""


class SchedulerConfig(_Frozen):
    """Which trials continue after a stage."""

    kind: Literal["asha", "adaptive", "none"] = "asha"
    """`adaptive`: as `asha`, but a rung compares trials only while their order there matches their order at the end of
    the second-to-last stage. `none`: every trial runs all its stages."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """The best 1/reduction_factor of a rung continue."""
    first_rung: Annotated[int, Field(ge=1)] = 1
    """Number of the stage, counted from 1, after which trials are first compared."""


class ResourceSettings(_Frozen):
    """The resources of each running trial."""

    gpus_per_trial: float | None = None
    """0, or 0.25 to 1; null: 1 if the cluster has GPUs, else 0."""
    cpus_per_trial: Annotated[int, Field(ge=1)] | None = None
    """TensorFlow's threads; null: the GPU's share of its node's cores, or up to 4 without a GPU."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _one_gpu_at_most(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1:
            raise ValueError(f"expected at most 1 until data-parallel training exists, found {gpus:g}")
        if gpus is not None and gpus != 0 and gpus < 0.25:
            raise ValueError(f"expected 0 or 0.25 to 1, found {gpus:g}")
        return gpus


class DeadlineSettings(_Frozen):
    """How long a trial or final training may be silent before its process is killed and a new one resumes from the last
    checkpoint."""

    epoch_factor: Annotated[float, Field(ge=2.0)] = 10.0
    """Multiple of this worker's longest epoch of the same stage."""
    shortest_minutes: Annotated[float, Field(gt=0.0)] = 10.0
    """Lower bound, for short epochs."""
    first_epoch_minutes: Annotated[float, Field(gt=0.0)] = 120.0
    """For the first epoch of a stage or attempt, which compiles and may build what the store lacks."""


class CheckpointSettings(_Frozen):
    """Checkpoints that a study keeps on disk."""

    quota_gb: Annotated[float, Field(gt=0.0)] | None = None
    """Limit for all checkpoints of the study, in 10^9 bytes; beyond it the least useful are deleted. null: no limit."""
    full_disk_minutes: Annotated[float, Field(gt=0.0)] = 60.0
    """How long a search waits for space on a full disk, or for files that every trial needs, before it stops. It can
    then be resumed."""


class FinalistSettings(_Frozen):
    """Repeats of the best trials with other seeds, whose scores are free of selection bias."""

    count: Annotated[int, Field(ge=0, le=100)] = 0
    """Number of best trials to repeat, in addition to the baseline; 0: no finals."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    """Repeats of each."""


class SearchSettings(_Frozen):
    """How the space is searched."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    """Configurations to try, including the baseline."""
    budget: BudgetSettings = BudgetSettings()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler and of the photos' views."""
    rank_by: Literal["auto", "accuracy", "log_loss"] = "auto"
    """How epochs and trials are ranked: by validation accuracy, or by log-loss after temperature scaling, which is less
    noisy. auto: log_loss in new studies, accuracy in studies older than this setting."""
    sampler: Literal["tpe", "random", "sobol"] = "tpe"
    """`sobol`: points that fill the space evenly, without learning from results."""
    scheduler: SchedulerConfig = SchedulerConfig()
    finalists: FinalistSettings = FinalistSettings()
    """Off by default, because they can cost as much as a search (`count` + 1 times `seeds` whole trainings)."""
    resources: ResourceSettings = ResourceSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials that run at once; null: as many as fit."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """How many times a trial's process or node may die without a new epoch in between before the trial fails. A Python
    error fails at once."""
    deadline: DeadlineSettings = DeadlineSettings()
    deterministic: bool = False
    """True: deterministic kernels, so that a search with one trial at a time is reproducible. Slower; on GPUs
    TensorFlow lacks some deterministic kernels (gradient of depthwise convolution) and then raises an error."""
    portfolio: Literal["builtin"] | tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Recipes to try first, after the baseline: `builtin`, or a list of experiment files without domains, in order.
    Those that do not fit the photos, the GPU, the weights at hand or half of `trials` are left out. null: none."""
    baseline: Mapping[str, Any] = {}
    """The default recipe: values for domains, as a tree like `train` with stages by name. Other domains use their
    default."""

    @property
    def ranking(self) -> RankBy:
        """How a new study ranks."""
        return "accuracy" if self.rank_by == "accuracy" else "log_loss"


# The names of carcls.inference.tta.VIEWS, whose module imports OpenCV; a test keeps them equal.
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
    """The final training. All other keys are a tree like `train`, applied to the winner's configuration."""

    model_config = ConfigDict(extra="allow")

    folds: Annotated[int, Field(ge=1, le=20)] = 1
    """Number of trainings, each validating on another part of the labelled photos; the exported model averages them.
    1: one training on the study's own split."""
    photos: Literal["train", "all"] = "train"
    """`all`: the exported model is one more training, on all labelled photos but the holdout. Its epochs and rates are
    those that the folds found, or the search's trial without folds. No photo is left to validate it, so the scores and
    the expectation are those of the folds."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """Changes to the winner's configuration."""
        return self.model_extra or {}


class RecordSettings(_Frozen):
    """What `carsearch record` trains to the end: points that fill the space, some of them repeatedly."""

    configurations: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Including the baseline."""
    repeated: Annotated[int, Field(ge=0)] = 30
    """How many of them, from the first on, are repeated with other seeds to measure noise."""
    seeds: Annotated[int, Field(ge=1)] = 3
    """Trainings of each repeated configuration, including the first."""
    first: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Number of the first configuration; a recording in blocks skips those of earlier blocks."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Number of folds to train each configuration on, instead of repeats with other seeds; null: no folds."""
    averages: bool = False
    """Whether each training's last epoch is also scored with averages of its last stage's weights."""


class StoreSettings(_Frozen):
    """Where shared artefacts are stored. These settings do not change any result."""

    enabled: bool = True
    """False: photos are decoded on demand, and each trial computes its frozen features itself."""
    root: Path | None = None
    """Folder on each node's own disk; null: $CARSEARCH_STORE, else the user's cache."""
    quota_gb: Annotated[float, Field(gt=0.0)] | None = None
    """Limit for all artefacts there, in 10^9 bytes; beyond it the least recently used are deleted. null: no limit."""


class ExperimentSections(_Frozen):
    """The whole file. `train` and the changes in `retrain` stay plain trees: only a chosen configuration is typed."""

    name: Name
    """Name of the study and of its folder under `results`."""
    data: DataSettings
    train: Mapping[str, Any]
    """One training, with domains instead of some values."""
    search: SearchSettings = SearchSettings()
    retrain: RetrainSettings = RetrainSettings()
    """The final training: folds, and a tree like `train`, with stages by name or as a whole new list."""
    tta: TtaSettings = TtaSettings()
    record: RecordSettings = RecordSettings()
    results: Path = Path("results")
    """Folder of all studies."""
    store: StoreSettings = StoreSettings()
