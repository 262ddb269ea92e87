"""One .keras file that is the whole artefact: the model, and a card with class names, image size and views inside.

A .keras file is a zip archive. The card is one more member, `carsearch.json`, which Keras passes over: the file also
opens with `keras.saving.load_model` alone, in safe mode, without carsearch.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carcls.backend.framework import keras
from carcls.config import TrainConfig
from carcls.errors import CheckpointError, ConfigError, DataError
from carcls.inference.model_file import CARD, ModelFile
from carcls.inference.tta import VIEWS, average, check_views, predict_view
from carcls.input.pixels import decode
from carcls.models.classifier import Classifier
from carcls.system.atomic import published

BATCH_SIZE = 32
_BATCH_BYTES = 64 * 2**20
"""Of pixels: a batch holds fewer photos where they are over 800 px a side."""
_MAX_SIZE_PX = 8192
"""The largest image_size at the largest image_scale."""
_MAX_CLASSES = 2**16
_MAX_NAME_LETTERS = 1000


class Card(BaseModel):
    """What prediction needs beside the model, and where the model comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    class_names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=_MAX_NAME_LETTERS)], ...],
        Field(min_length=1, max_length=_MAX_CLASSES),
    ]
    """In the order of the model's outputs."""
    size_px: Annotated[int, Field(ge=1, le=_MAX_SIZE_PX)]
    tta_views: Annotated[tuple[str, ...], Field(min_length=1, max_length=len(VIEWS))]
    config: dict[str, Any]
    """The training's configuration, told and not used: plain values, so that a file outlives changes of the schema."""
    scores: dict[str, float]
    members: Annotated[int, Field(ge=1)] = 1
    """Trainings whose probabilities the model averages."""
    carsearch: str
    """Version that wrote the file."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What became of one file: a label with its probability, or an error."""

    path: Path
    label: str | None
    probability: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A loaded artefact: pixels 0..255 (b, size_px, size_px, 3) -> softmax (b, classes), and its card."""

    model: keras.Model
    card: Card

    def predict_files(self, paths: Sequence[Path], *, batch_size: int = BATCH_SIZE) -> list[Prediction]:
        """One prediction for each path, in order: decoded as in training, averaged over the card's views.

        A file that cannot be read or decoded gives a Prediction with its error, and the others go on. Memory holds the
        pixels of one batch.
        """
        batch_size = max(1, min(batch_size, len(paths), _BATCH_BYTES // (3 * self.card.size_px**2)))
        predictions: list[Prediction] = []
        for start in range(0, len(paths), batch_size):
            predictions += self._predict(paths[start : start + batch_size], batch_size)
        return predictions

    def _predict(self, paths: Sequence[Path], batch_size: int) -> list[Prediction]:
        size = self.card.size_px
        # Failed photos and the missing end of the last batch stay black: the model is traced for one shape only.
        photos = np.zeros((batch_size, size, size, 3), np.uint8)
        errors: dict[int, str] = {}
        for row, path in enumerate(paths):
            try:
                photos[row] = decode(path, size)
            except DataError as error:
                errors[row] = str(error)
        if len(errors) == len(paths):
            return [Prediction(path, None, None, errors[row]) for row, path in enumerate(paths)]
        views = self.card.tta_views
        by_view = {view: predict_view(self.model, photos, view, batch_size=batch_size) for view in views}
        averaged = average(by_view, views)
        return [self._prediction(path, averaged[row], errors.get(row)) for row, path in enumerate(paths)]

    def _prediction(self, path: Path, probabilities: NDArray[np.float32], error: str | None) -> Prediction:
        if error is not None:
            return Prediction(path, None, None, error)
        best = int(np.argmax(probabilities))
        return Prediction(path, self.card.class_names[best], float(probabilities[best]), None)


def export_model(
    path: Path,
    classifier: Classifier | keras.Model,
    *,
    class_names: Sequence[str],
    config: TrainConfig,
    size_px: int,
    tta_views: Sequence[str],
    scores: Mapping[str, float] | None = None,
    members: int = 1,
) -> None:
    """Write model and card to `path` (*.keras), whole or not at all.

    members: how many trainings the model averages, see `members.averaged`; `config` is then what they have in common.
    The model goes as it stands; one that is compiled takes its optimizer along, at three times the size. Raises
    CheckpointError where model and card do not fit each other or the suffix is another, ConfigError for an unknown
    view, OSError where the disk refuses.
    """
    _check_suffix(path)
    check_views(tta_views)
    card = Card(
        class_names=tuple(class_names),
        size_px=size_px,
        tta_views=tuple(tta_views),
        config=config.model_dump(mode="json"),
        scores=dict(scores or {}),
        members=members,
        carsearch=_version(),
    )
    model = classifier.model if isinstance(classifier, Classifier) else classifier
    _check_fit(path, model, card)
    with published(path) as temporary:
        keras.saving.save_model(model, temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(CARD, card.model_dump_json(indent=2))


def load_model(path: Path) -> ExportedModel:
    """What `export_model` wrote. Safe to call on a stranger's file: no code from it is run, and nothing is made that is
    larger than the file or of a kind that carsearch does not export.

    Raises CheckpointError where the file is missing, torn, no archive, without a card, or with one that does not fit.
    """
    _check_suffix(path)
    file = ModelFile(path)
    try:
        card = Card.model_validate_json(file.card)
        check_views(card.tta_views)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()[:3])
        raise CheckpointError(f"{path}: {CARD} cannot be used: {told}; written by a newer carsearch?") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {CARD} cannot be used: {error}; written by a newer carsearch?") from error
    model = file.model(size_px=card.size_px)
    _check_fit(path, model, card)
    return ExportedModel(model, card)


def _check_suffix(path: Path) -> None:
    if path.suffix != ".keras":
        raise CheckpointError(f"{path}: expected a name that ends in .keras")


def _check_fit(path: Path, model: keras.Model, card: Card) -> None:
    expected = ((None, card.size_px, card.size_px, 3), (None, len(card.class_names)))
    found = (model.input_shape, model.output_shape)
    if found != expected:
        raise CheckpointError(f"{path}: model and card differ: the card tells shapes {expected}, the model has {found}")


def _version() -> str:
    try:
        return version("carsearch")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
