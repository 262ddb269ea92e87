"""Everything that carcls raises on purpose.

    CarclsError
    ├── ConfigError            a configuration that cannot be trained
    ├── DocumentError          YAML or JSON text that is no plain value
    ├── DataError              photos, tables or splits that cannot be used
    │   └── DamagedStoreError  what the store holds of them was damaged, and is built anew when it is next used
    ├── StoreError             the store is off or unusable; what it would share can be computed without it
    ├── FrameworkError         Keras or its backend cannot be loaded
    ├── HomeError              the user's home folder is needed and not known
    ├── WeightsError           weights missing, for another backbone, or incomplete
    │   └── MisfitError        weights that were read, and are another backbone's
    ├── CheckpointError        a checkpoint that is missing, torn or of another model
    ├── EvidenceError          probabilities of an epoch that are missing or damaged
    ├── DiskFullError          a file that found no room; an OSError too
    ├── SubmissionError        a submission that the sample does not match
    └── TrainingError          a training that cannot go on; a result, not a crash
        ├── DivergedError      the loss is no longer finite
        └── OutOfMemoryError   the device has no room for this configuration

Each message says what was wrong, where, what was expected and what to do.
"""


class CarclsError(Exception):
    """Base of all errors meant for the user."""


class ConfigError(CarclsError):
    """A configuration that cannot be trained."""


class DocumentError(CarclsError):
    """YAML or JSON text that is no plain value."""

    def __init__(self, where: str, key: str, message: str) -> None:
        """where: `file:line`. key: dotted path, or what the whole text is."""
        super().__init__(f"{where}: {key}: {message}")
        self.where, self.key, self.message = where, key, message


class DataError(CarclsError):
    """Photos, tables or splits that cannot be used."""


class DamagedStoreError(DataError):
    """Something of the store that this process has used was damaged on disk: what it made of it cannot be trusted, but
    the next process that needs it builds it anew."""


class StoreError(CarclsError):
    """The store is off or unusable; what it would share can be computed without it."""


class FrameworkError(CarclsError):
    """Keras or its backend cannot be loaded in this process."""


class HomeError(CarclsError):
    """The user's home folder is needed and not known."""


class WeightsError(CarclsError):
    """Weights that are missing, for another backbone, or incomplete."""


class MisfitError(WeightsError):
    """Weights that were read, and do not fit this backbone: no second look would find others."""


class CheckpointError(CarclsError):
    """A checkpoint that is missing, torn, or of another model."""


class EvidenceError(CarclsError):
    """Probabilities of an epoch that are missing or damaged."""


class DiskFullError(CarclsError, OSError):
    """A file that found no room on its disk; nothing of it was left there."""


class SubmissionError(CarclsError):
    """A submission that does not match the contest's sample."""


class TrainingError(CarclsError):
    """A training that cannot go on: the configuration is infeasible, the program is not broken."""


class DivergedError(TrainingError):
    """The loss is no longer finite."""


class OutOfMemoryError(TrainingError):
    """The device has no room for this configuration."""

    stage: int | None = None
    """Number of the stage that had no room; None where it is not known."""
