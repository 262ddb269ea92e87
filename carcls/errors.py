"""The exceptions that carcls raises on purpose.

    CarclsError
    ├── ConfigError            a configuration that cannot be trained
    ├── DocumentError          YAML or JSON that is not a tree of plain values
    ├── DataError              photos, tables or splits that cannot be used
    │   └── DamagedStoreError  an artefact in the store was damaged; its next use rebuilds it
    ├── StoreError             the store is off or unusable; callers can compute without it
    ├── FrameworkError         Keras or its backend cannot be loaded
    ├── DeviceError            a GPU of this machine was granted but cannot be used
    ├── HomeError              the user's home folder is needed but unknown
    ├── WeightsError           weights missing, for another backbone, or incomplete
    │   └── MisfitError        weights that belong to another backbone
    ├── CheckpointError        a checkpoint that is missing, damaged or from another model
    │   └── PartError          a part of an epoch that does not belong to the epoch that is trained
    ├── EvidenceError          an epoch's probabilities are missing or damaged
    ├── DiskFullError          a file could not be written for lack of space; also an OSError
    ├── SubmissionError        a submission that does not match the sample
    └── TrainingError          a training run that cannot continue; a result, not a crash
        ├── DivergedError      the loss is no longer finite
        └── OutOfMemoryError   the device lacks memory for this configuration

Each message says what is wrong, where, what was expected and what to do.
"""


class CarclsError(Exception):
    """Base of all errors meant for the user."""


class ConfigError(CarclsError):
    """A configuration that cannot be trained."""


class DocumentError(CarclsError):
    """YAML or JSON that is not a tree of plain values."""

    def __init__(self, where: str, key: str, message: str) -> None:
        """where: `file:line`. key: dotted path, or the format where the whole text is meant."""
        super().__init__(f"{where}: {key}: {message}")
        self.where, self.key, self.message = where, key, message


class DataError(CarclsError):
    """Photos, tables or splits that cannot be used."""


class DamagedStoreError(DataError):
    """This process has read a store artefact that was damaged on disk, so its results cannot be trusted. The next
    process that needs the artefact rebuilds it."""


class StoreError(CarclsError):
    """The store is off or unusable; callers can compute without it."""


class FrameworkError(CarclsError):
    """Keras or its backend cannot be loaded in this process."""


class DeviceError(CarclsError):
    """A GPU that this process was granted cannot be used: a fault of its machine, not of what it trains."""


class HomeError(CarclsError):
    """The user's home folder is needed but unknown."""


class WeightsError(CarclsError):
    """Weights that are missing, for another backbone, or incomplete."""


class MisfitError(WeightsError):
    """Weights that were read but do not fit this backbone. Reading them again would not help."""


class CheckpointError(CarclsError):
    """A checkpoint that is missing, damaged, or from another model."""


class PartError(CheckpointError):
    """A part of an epoch that does not belong to the epoch that is trained. It can be deleted without harm."""


class EvidenceError(CarclsError):
    """An epoch's probabilities are missing or damaged."""


class DiskFullError(CarclsError, OSError):
    """The disk is full. No partial file is left behind."""


class SubmissionError(CarclsError):
    """A submission that does not match the competition's sample."""


class TrainingError(CarclsError):
    """A training run that cannot continue: the configuration is infeasible, the program is not broken."""


class DivergedError(TrainingError):
    """The loss is no longer finite."""


class HandedOverError(CarclsError):
    """A training run whose state was saved within an epoch because it was asked to go on elsewhere."""


class OutOfMemoryError(TrainingError):
    """The device lacks memory for this configuration."""

    stage: int | None = None
    """Number of the stage that ran out of memory, or None if unknown."""
