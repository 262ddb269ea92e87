"""Exports a model as a single .keras file that includes a card with class names, image size and views.

A .keras file is a zip archive. The card is an additional member, `carsearch.json`, which Keras ignores: the file also
loads with plain `keras.saving.load_model` in safe mode, without carsearch. With a backbone of KerasHub it needs
keras-hub too, which the card says.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carcls.backend.framework import keras
from carcls.config import TrainConfig
from carcls.errors import CheckpointError, ConfigError, DataError
from carcls.frames import Fit, Frame, Size, frame_of
from carcls.inference.model_file import CARD, ModelFile
from carcls.inference.tta import VIEWS, average, check_views, predict_view
from carcls.input.pixels import decode, pixels_bytes, resize
from carcls.models.classifier import Classifier
from carcls.scoring.ensembles import rescaled
from carcls.system.atomic import published

BATCH_SIZE = 32
_BATCH_BYTES = 64 * 2**20
"""Pixel data per batch. Batches have fewer photos if these are larger than 800 px."""
_MAX_SIZE_PX = 8192
"""The largest image_size at the largest image_scale."""
_MAX_CLASSES = 2**16
_IMAGE = Path("image")
"""Stands for the path of a photo that was given as pixels."""
_MAX_NAME_LETTERS = 1000


class Card(BaseModel):
    """What prediction needs besides the model, and how the model was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    class_names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=_MAX_NAME_LETTERS)], ...],
        Field(min_length=1, max_length=_MAX_CLASSES),
    ]
    """In the order of the model's outputs."""
    size_px: Annotated[int, Field(ge=1, le=_MAX_SIZE_PX)]
    """Height of the model's input, and its width unless `width_px` says another."""
    width_px: Annotated[int, Field(ge=1, le=_MAX_SIZE_PX)] | None = None
    fit: Fit = "stretch"
    """How photos fill the input."""
    tta_views: Annotated[tuple[str, ...], Field(min_length=1, max_length=len(VIEWS))]
    config: dict[str, Any]
    """The training's configuration, for information only. Plain values, so that files survive changes of the schema."""
    scores: dict[str, float]
    members: Annotated[int, Field(ge=1)] = 1
    """Number of trainings whose probabilities the model averages."""
    sharpness: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """Multiplies the log-probabilities of the views' average, fitted to validation photos; 1 leaves them. The most
    probable class stays the same."""
    requires: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=10)] = ()
    """Packages that loading needs besides Keras, such as `keras-hub==0.32.0`."""
    carsearch: str
    """Version that wrote the file."""

    @property
    def size(self) -> Size:
        """Of the model's input, to which photos are decoded."""
        return Frame(self.size_px, self.width_px or self.size_px, self.fit).size


@dataclass(frozen=True, slots=True)
class Prediction:
    """Result for one file: a label with its probability, or an error."""

    path: Path
    label: str | None
    probability: float | None
    error: str | None
    probabilities: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """(classes,) of every class, in the card's order; None with an error."""

    def ranked(self, class_names: Sequence[str]) -> list[tuple[str, float]]:
        """Every class with its probability, the most likely first; empty with an error."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")
        return [(class_names[index], float(self.probabilities[index])) for index in order]


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A loaded model, pixels 0..255 (b, height, width, 3) -> softmax (b, classes), and its card."""

    model: keras.Model
    card: Card

    def predict_files(self, paths: Sequence[Path], *, batch_size: int = BATCH_SIZE) -> list[Prediction]:
        """One prediction per path, in order. Decodes as in training and averages over the card's views.

        A file that cannot be read or decoded yields a Prediction with an error. Memory holds the pixels of one batch.
        """
        return self.predict_photos(paths, batch_size=batch_size)

    def predict_photos(
        self, photos: Sequence[Path | NDArray[np.uint8]], *, batch_size: int = BATCH_SIZE
    ) -> list[Prediction]:
        """The same for files and RGB images (height, width, 3) uint8, whose predictions have no path but `image`.

        Raises ValueError for an image of another form.
        """
        batch_size = max(1, min(batch_size, len(photos), _BATCH_BYTES // pixels_bytes(1, self.card.size)))
        predictions: list[Prediction] = []
        for start in range(0, len(photos), batch_size):
            predictions += self._predict(photos[start : start + batch_size], batch_size)
        return predictions

    def _predict(self, asked: Sequence[Path | NDArray[np.uint8]], batch_size: int) -> list[Prediction]:
        size = self.card.size
        # Failed photos and the padding of the last batch stay black, so that the model is traced for one shape only.
        photos = np.zeros((batch_size, *frame_of(size).shape), np.uint8)
        errors: dict[int, str] = {}
        for row, photo in enumerate(asked):
            try:
                photos[row] = decode(photo, size) if isinstance(photo, Path) else resize(_checked_image(photo), size)
            except DataError as error:
                errors[row] = str(error)
        paths = [photo if isinstance(photo, Path) else _IMAGE for photo in asked]
        if len(errors) == len(paths):
            return [Prediction(path, None, None, errors[row]) for row, path in enumerate(paths)]
        views = self.card.tta_views
        by_view = {view: predict_view(self.model, photos, view, batch_size=batch_size) for view in views}
        averaged = rescaled(average(by_view, views), self.card.sharpness)
        return [self._prediction(path, averaged[row], errors.get(row)) for row, path in enumerate(paths)]

    def _prediction(self, path: Path, probabilities: NDArray[np.float32], error: str | None) -> Prediction:
        if error is not None:
            return Prediction(path, None, None, error)
        best = int(np.argmax(probabilities))
        return Prediction(path, self.card.class_names[best], float(probabilities[best]), None, probabilities)


def _checked_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    dtype, shape = getattr(image, "dtype", type(image).__name__), list(getattr(image, "shape", ()))
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"expected an RGB image (height, width, 3) of uint8, found {dtype} of shape {tuple(shape)}")
    return np.ascontiguousarray(image)


def export_model(
    path: Path,
    classifier: Classifier | keras.Model,
    *,
    class_names: Sequence[str],
    config: TrainConfig,
    size_px: Size,
    tta_views: Sequence[str],
    scores: Mapping[str, float] | None = None,
    members: int = 1,
    sharpness: float = 1.0,
) -> None:
    """Writes model and card to `path` (*.keras) atomically.

    members: number of trainings that the model averages, see `ensemble.averaged`; `config` is then what they have in
    common. sharpness: see `Card`. A compiled model is saved with its optimizer, at three times the size. Raises
    CheckpointError for a wrong suffix or if model and card do not match, ConfigError for an unknown view, and OSError.
    """
    _check_suffix(path)
    check_views(tta_views)
    frame = frame_of(size_px)
    model = classifier.model if isinstance(classifier, Classifier) else classifier
    card = Card(
        class_names=tuple(class_names),
        size_px=frame.height,
        width_px=None if frame.width == frame.height else frame.width,
        fit=frame.fit,
        tta_views=tuple(tta_views),
        config=config.model_dump(mode="json"),
        scores=dict(scores or {}),
        members=members,
        sharpness=sharpness,
        requires=_requirements(model),
        carsearch=_version(),
    )
    _check_fit(path, model, card)
    with published(path) as temporary:
        keras.saving.save_model(model, temporary)
        # Keras ignores members that it does not know.
        with zipfile.ZipFile(temporary, "a") as archive:
            unset = {"sharpness"} if sharpness == 1.0 else set()
            unset |= set() if card.requires else {"requires"}  # older versions read cards without them
            archive.writestr(CARD, card.model_dump_json(indent=2, exclude=unset))


def load_model(path: Path) -> ExportedModel:
    """Loads what `export_model` wrote. Safe for untrusted files: runs no code from the file, and creates only objects
    that carsearch exports and that are not larger than the file.

    Raises CheckpointError if the file is missing, damaged, not an archive, or has no card that matches the model.
    """
    _check_suffix(path)
    file = ModelFile(path)
    try:
        card = Card.model_validate_json(file.card)
        check_views(card.tta_views)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()[:3])
        raise CheckpointError(f"{path}: {CARD} cannot be used: {problems}; written by a newer carsearch?") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {CARD} cannot be used: {error}; written by a newer carsearch?") from error
    model = file.model(size_px=card.size)
    _check_fit(path, model, card)
    return ExportedModel(model, card)


def _check_suffix(path: Path) -> None:
    if path.suffix != ".keras":
        raise CheckpointError(f"{path}: expected a name that ends in .keras")


def _check_fit(path: Path, model: keras.Model, card: Card) -> None:
    expected = ((None, *frame_of(card.size).shape), (None, len(card.class_names)))
    found = (model.input_shape, model.output_shape)
    if found != expected:
        raise CheckpointError(f"{path}: model and card differ: the card has shapes {expected}, the model has {found}")


def _requirements(model: keras.Model) -> tuple[str, ...]:
    """Packages besides Keras whose layers the model contains."""
    layers = model._flatten_layers()  # no public name reaches the layers of nested models
    is_hub = any(type(layer).__module__.startswith("keras_hub.") for layer in layers)
    return (f"keras-hub=={version('keras-hub')}",) if is_hub else ()


def _version() -> str:
    try:
        return version("carsearch")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
