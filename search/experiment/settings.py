"""The sections of an experiment file besides `train`: frozen, typed, and the only place for defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from carcls.catalog import nearest_name
from carcls.dataset.layouts import Layout
from search.experiment.database_url import checked_url
from search.experiment.search_settings import SearchSettings, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


# The names of carcls.inference.tta.VIEWS, whose module imports OpenCV; a test keeps them equal.
_SCALES_AND_CROPS = (
    *("zoom_more", "zoom_out", "crop_centre", "crop_top_left", "crop_top_right", "crop_bottom_left"),
    "crop_bottom_right",
)
TTA_VIEWS = (
    *("plain", "flip", "zoom", "zoom_flip", "shift_left", "shift_right", "brighter", "darker"),
    *(name for view in _SCALES_AND_CROPS for name in (view, f"{view}_flip")),
)


class ValidationSettings(Section):
    """The study's split: stratified, with copies of a photo on the same side."""

    fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of the labelled photos that are never trained on."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Draws the split and the holdout."""


class HoldoutSettings(Section):
    """Photos that are scored after each epoch and never used for training or a choice. Drawn by `validation.seed`."""

    fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the labelled photos, in addition to those of validation."""


class PseudoSettings(Section):
    """Pseudo-labels (Lee 2013): photos to predict on whose class a final training's predictions agree."""

    agreement: Annotated[float, Field(gt=0.5, le=1.0)] = 1.0
    """Share of a photo's predictions, one for each view, that must name one class."""
    views: Annotated[int, Field(ge=1, le=len(TTA_VIEWS))] = 8
    """Number of views that predict, in the order of `tta.views`: plain, flip, zoom and so on to darker, then the scales
    and crops."""


class DataSettings(Section):
    """Which photos."""

    root: Path
    """Folder with the photos, or its URL (`s3://`, `gs://`, `abfs://`, `file://`), which each node copies once; its
    layout is detected. Paths are absolute once loaded."""
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
    exclude: Path | None = None
    """CSV file with a column `path`, such as the one that `carsearch data audit` writes: labelled photos to leave out,
    relative to `root`. null: none."""
    nested: bool = False
    """Whether class folders are nested, as in `Audi/A4`; each folder with photos is then a class."""
    extra: Path | None = None
    """Folder, or its URL, of more labelled photos of the same classes, laid out like `root`, for the final training
    alone. They are never validated, held out or scored, and photos that look like one in `root` are left out. The final
    training uses them if its first fold, trained with and without them, predicts its validation photos better with
    them, by `tta.confidence`. null: none."""
    pseudo: PseudoSettings | None = None
    """Pseudo-labels for a second final training, on labelled photos and on those to predict whose class is agreed on.
    Each fold's labels are by its own first model, which never saw the photos that the fold validates. The second
    training is kept if its first fold predicts its validation photos better than before, by `tta.confidence`. null: no
    second training."""
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
            exclude=self.exclude,
            extra=self.extra,
            nested=self.nested,
        )


class TtaSettings(Section):
    """Test-time augmentation of the final model."""

    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("plain", "flip")
    """Candidates: plain, flip, zoom (the middle 90 % of each side), zoom_flip, shift_left, shift_right, brighter,
    darker; zoom_more (the middle 80 %), zoom_out (the whole photo at 90 %, its border reflected); the five crops of
    87.5 % of each side crop_centre, crop_top_left, crop_top_right, crop_bottom_left, crop_bottom_right; and the mirror
    images of these seven, such as zoom_out_flip. The model uses those with an expected gain."""
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


class RetrainSettings(Section):
    """The final training. All other keys are a tree like `train`, applied to the winner's configuration."""

    model_config = ConfigDict(extra="allow")

    folds: Annotated[int, Field(ge=1, le=20)] = 1
    """Number of trainings, each validating on another part of the labelled photos; the exported model averages them.
    1: one training on the study's own split."""
    gpus: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    """GPUs of this machine for each training, over which each batch is spread. `all`: every one, so that several
    trainings run one after the other. Ignored without GPUs, and with `--address`, where `search.resources` applies."""
    photos: Literal["train", "all"] = "train"
    """`all`: the exported model is one more training, on all labelled photos but the holdout. Each stage has the number
    of epochs that the folds found (the median). Its schedule runs its whole curve over them; a plateau drops after the
    median epochs of the folds' drops. Without folds, the search's trial stands in for them, or with `data.extra` or
    `data.pseudo` a training on the study's split, by which these are measured. No photo is left to validate it, so the
    scores and the expectation are those of what told its length."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """Changes to the winner's configuration."""
        return self.model_extra or {}


class RecordSettings(Section):
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


class StoreSettings(Section):
    """Where shared artefacts are stored. These settings do not change any result."""

    enabled: bool = True
    """False: photos are decoded on demand, and each trial computes its frozen features itself."""
    root: Path | None = None
    """Folder on each node's own disk; null: $CARSEARCH_STORE, else the user's cache."""
    quota_gb: Annotated[float, Field(gt=0.0)] | None = None
    """Limit for all artefacts there, in 10^9 bytes; beyond it the least recently used are deleted. null: no limit."""


class ExperimentSections(Section):
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
    """Folder of all studies, or its URL (`s3://`, `gs://`, `abfs://`, `file://`)."""
    storage: str | None = None
    """PostgreSQL database for the study's record, as `postgresql://USER@HOST/DATABASE` without a password; null: a file
    in the study's folder."""
    store: StoreSettings = StoreSettings()

    @field_validator("storage")
    @classmethod
    def _an_address(cls, storage: str | None) -> str | None:
        return storage if storage is None else checked_url(storage)
