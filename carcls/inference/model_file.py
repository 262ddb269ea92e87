"""Loads the model of an untrusted .keras file. Declared sizes are checked before anything is allocated."""

import io
import logging
import math
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import keras

# Keras can create variables without values in a stateless scope, but only through private names.
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import initialize_all_variables

from carcls.errors import CheckpointError
from carcls.frames import Size, frame_of
from carcls.inference.model_config import MAX_CONFIG_BYTES, checked_config
from carcls.inference.model_values import ForeignConfigError, MissingLibraryError
from carcls.system.hdf5 import plain_hdf5
from carcls.system.zip_files import opened_zip

_log = logging.getLogger(__name__)

CARD = "carsearch.json"
MAX_CARD_BYTES = 2**20
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {CARD, _CONFIG, _WEIGHTS, "metadata.json"}
_MAX_OUTPUTS = 128
"""Maximum number of outputs of a layer per pixel of the photo; VGG has 64."""
_FREE_OUTPUTS = 2**20
"""Number of outputs that a layer may have for any photo."""
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, OverflowError, MemoryError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)
_ERROR_LETTERS = 200
_UNINITIALISED = "uninitialized_variables"


class ModelFile:
    """A .keras file with exactly the expected members: intact, uncompressed, and of the declared sizes."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError."""
        self._path = path
        try:
            with opened_zip(path) as (archive, entries):
                self._check(archive, entries)
                self.card = archive.read(CARD)
                self._config = archive.read(_CONFIG)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such model; `carsearch retrain` writes one") from None
        except _UNREADABLE as error:
            raise CheckpointError(
                f"{path}: damaged, or not a .keras file: {_brief(error)}; export or copy it again"
            ) from error

    def _check(self, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> None:
        if sum(info.file_size for info in entries.values()) > self._path.stat().st_size:
            raise CheckpointError(f"{self._path}: declares more bytes than it has; a .keras file is not compressed")
        if CARD not in entries:
            raise CheckpointError(
                f"{self._path}: a Keras model without {CARD}; expected one that carsearch exported, since that file has"
                " the class names and the image size"
            )
        others = sorted(name for name, info in entries.items() if name not in _MEMBERS or info.compress_type)
        if others or len(entries) < len(_MEMBERS):
            raise CheckpointError(
                f"{self._path}: expected only {', '.join(sorted(_MEMBERS))}, uncompressed; found"
                f" {', '.join(map(repr, others or entries))[:200]}; export it again"
            )
        for name, limit in ((CARD, MAX_CARD_BYTES), (_CONFIG, MAX_CONFIG_BYTES)):
            if entries[name].file_size > limit:
                raise CheckpointError(
                    f"{self._path}: {name} has {entries[name].file_size:,} bytes; expected at most {limit:,}"
                )
        torn = archive.testzip()
        if torn is not None:
            raise CheckpointError(f"{self._path}: {torn} is damaged; export or copy the file again")

    def model(self, *, size_px: Size) -> keras.Model:
        """The uncompiled model, after checking that its configuration is one that `export_model` writes.

        size_px: of the photos, which limits the size of layers' outputs. Raises CheckpointError.
        """
        try:
            return self._loaded(size_px)
        except MissingLibraryError as error:
            raise CheckpointError(f"{self._path}: cannot be loaded here: {error}") from error
        except ForeignConfigError as error:
            raise CheckpointError(
                f"{self._path}: not a model that Keras can load safely: {_CONFIG}: {error}; expected one that this"
                " carsearch exported"
            ) from error
        except Exception as error:  # Keras and its backend raise nearly everything for invalid configurations
            raise CheckpointError(
                f"{self._path}: not a model that Keras can load: {_brief(error)}; export it again"
            ) from error

    def _loaded(self, size_px: Size) -> keras.Model:
        held, config = self._count_weights(), checked_config(self._config)
        with _deferred_values():
            # Layers are created without allocating values, so that the size can be checked first.
            with keras.StatelessScope(initialize_variables=False):
                model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            wanted = sum(math.prod(variable.shape) for variable in model.weights)
            if wanted > held:
                raise ForeignConfigError(f"its layers have {wanted:,} weights, but the file has {held:,}")
            _check_outputs(model, max(_FREE_OUTPUTS, _MAX_OUTPUTS * frame_of(size_px).area))
            initialize_all_variables()
        self._load_weights(model)
        return model

    def _load_weights(self, model: keras.Model) -> None:
        """Loads them from a temporary copy outside the archive.

        An archive's member is read from its start at each seek backwards, of which HDF5 does several for each array:
        InceptionResNetV2 took 27 s of CPU time. Without space for a copy, it is loaded like that.
        """
        with ExitStack() as stack:
            try:
                path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="carcls-")), _WEIGHTS)
                with zipfile.ZipFile(self._path) as archive, archive.open(_WEIGHTS) as member, path.open("wb") as copy:
                    shutil.copyfileobj(member, copy)
            except OSError as error:
                _log.warning(
                    "loading %s takes long: its weights cannot be unpacked (%s); set TMPDIR", self._path, error
                )
                path = self._path
            model.load_weights(path)

    def _count_weights(self) -> int:
        """Number of scalars in the HDF5 file inside, after checking it. Keras reads it again."""
        with zipfile.ZipFile(self._path) as archive, plain_hdf5(io.BytesIO(archive.read(_WEIGHTS))) as (_, arrays):
            return sum(array.size for array in arrays.values())


def _brief(error: Exception) -> str:
    """The start and end of an error as one line. Keras quotes the whole configuration and puts the cause at the end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 2 * _ERROR_LETTERS else f"{text[:_ERROR_LETTERS]} … {text[-_ERROR_LETTERS:]}"


@contextmanager
def _deferred_values() -> Iterator[None]:
    """Within the block, variables created in a stateless scope have no values until they are initialised or loaded.

    Variables that never get a value are discarded.
    """
    outer = global_state.get_global_attribute(_UNINITIALISED)
    global_state.set_global_attribute(_UNINITIALISED, [])
    try:
        yield
    finally:
        global_state.set_global_attribute(_UNINITIALISED, outer)


def _check_outputs(model: keras.Model, limit: int) -> None:
    """Raises ForeignConfigError if a layer has more outputs per photo than any that is exported."""
    for operation in getattr(model, "operations", model.layers):  # a Sequential only has layers
        if isinstance(operation, keras.Model):
            _check_outputs(operation, limit)
        for output in keras.tree.flatten(operation.output):
            made = math.prod(side for side in output.shape if side is not None)
            if made > limit:
                raise ForeignConfigError(
                    f"layer {operation.name!r} has {made:,} outputs per photo; expected at most {limit:,}"
                )
