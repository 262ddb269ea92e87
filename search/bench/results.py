"""What is measured and what came of it: plain values, and the file that keeps them for this machine."""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from carcls.config import Precision
from carcls.errors import HomeError
from carcls.system import atomic
from carcls.system.home import home_folder
from carcls.system.nvidia_smi import gpu_rows

_FORMAT = 1
_PACKAGES = ("carsearch", "keras", "tensorflow", "jax", "opencv-python-headless", "albumentations")

State = Literal["measured", "out_of_memory", "out_of_time", "failed"]


@dataclass(frozen=True, slots=True)
class Training:
    """Training and prediction of one configuration, all of whose blocks train."""

    backbone: str
    alpha: float
    image_size: int
    """Side in px."""
    precision: Precision
    batch_size: int
    at_once: int = 1
    """Trainings at the same time; each has its share of the GPU or of the cores."""
    threads: int = 1
    """CPU threads of each."""

    @property
    def configuration(self) -> tuple[str, float, int, str, int]:
        """What trains, however many at once."""
        return self.backbone, self.alpha, self.image_size, self.precision, self.batch_size

    @property
    def name(self) -> str:
        """For people."""
        model = self.backbone if self.alpha == 1.0 else f"{self.backbone} {self.alpha:g}"
        return f"{model} {self.image_size} px, {self.precision}, batch {self.batch_size}"


@dataclass(frozen=True, slots=True)
class Feeding:
    """Photos to batches."""

    image_size: int
    policy: str
    processes: int

    @property
    def name(self) -> str:
        """For people."""
        return f"input {self.image_size} px, augmentation {self.policy}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement. Rates are 0 if it did not end well."""

    what: Training | Feeding
    state: State
    cause: str = ""
    """Why nothing was measured."""
    images_per_s: float = 0.0
    """Training: of each training. Feeding: augmented views."""
    forward_images_per_s: float = 0.0
    """Training: predicted."""
    decoded_per_s: float = 0.0
    """Feeding: photos decoded."""
    compile_s: float = 0.0
    """Training: building and compiling."""
    epoch_s: float = 0.0
    """Training: seconds of an epoch beside its steps."""
    memory_bytes: int = 0
    """Training: peak of the GPU's memory, or of the process on a CPU; 0 if unknown."""
    seconds: float = 0.0
    """The whole measurement, with the start of its process."""


@dataclass(frozen=True, slots=True)
class Bench:
    """All that is known of one machine."""

    machine: str
    """One line for people."""
    gpus: int
    cores: int
    found: tuple[Measured, ...]

    def trainings(self) -> list[tuple[Training, Measured]]:
        """Successful ones."""
        return [(one.what, one) for one in self.found if isinstance(one.what, Training) and one.state == "measured"]

    def feedings(self) -> list[tuple[Feeding, Measured]]:
        """Successful ones."""
        return [(one.what, one) for one in self.found if isinstance(one.what, Feeding) and one.state == "measured"]


def merged(old: Iterable[Measured], new: Sequence[Measured]) -> tuple[Measured, ...]:
    """Both; a new measurement replaces an old one of the same thing, except by one for which time ran out."""
    kept = {one.what: one for one in old}
    for one in new:
        if one.state != "out_of_time" or one.what not in kept:
            kept[one.what] = one
    return tuple(kept.values())


def to_json(bench: Bench) -> dict[str, Any]:
    """Plain JSON values; `from_json` reads them back."""
    rows = [{"kind": type(one.what).__name__.lower(), **asdict(one)} for one in bench.found]
    return {**asdict(bench), "format": _FORMAT, "found": rows}


def from_json(values: Mapping[str, Any]) -> Bench:
    """Inverse of `to_json`. Raises KeyError, TypeError and ValueError for anything else."""
    if values["format"] != _FORMAT:
        raise ValueError(f"format: expected {_FORMAT}, found {values['format']}")
    kinds = {"training": Training, "feeding": Feeding}
    names = {field.name for field in dataclasses.fields(Measured)} - {"what"}
    found = tuple(
        Measured(kinds[row["kind"]](**row["what"]), **{name: row[name] for name in names}) for row in values["found"]
    )
    return Bench(str(values["machine"]), int(values["gpus"]), int(values["cores"]), found)


def bench_file() -> Path:
    """Where this machine's measurements are kept: in the user's cache, by machine and versions. Raises HomeError."""
    root = os.environ.get("CARSEARCH_BENCH")
    folder = Path(root) if root else home_folder() / ".cache" / "carsearch" / "bench"
    return folder / f"{_key()}.json"


def read_bench(file: Path) -> Bench | None:
    """The measurements in a file; None if there is none, or none that this version understands."""
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept_bench() -> Bench | None:
    """This machine's measurements, or None."""
    try:
        return read_bench(bench_file())
    except HomeError:
        return None


def write_bench(file: Path, bench: Bench) -> None:
    """Writes the file, and its folder if it is missing. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, json.dumps(to_json(bench), indent=1) + "\n")


def machine_line(cores: int) -> str:
    """Processor, cores and GPUs, for people."""
    gpus = [row.strip() for row in gpu_rows("name")]
    return f"{_processor(Path('/proc/cpuinfo'))}, {cores} cores, {', '.join(gpus) or 'no GPU'}"


def _key() -> str:
    """Digest of what speed depends on: processor, cores, GPUs and their driver, backend, versions."""
    parts = [
        _processor(Path("/proc/cpuinfo")),
        str(len(os.sched_getaffinity(0))),
        *gpu_rows("name,driver_version,memory.total"),
        os.environ.get("KERAS_BACKEND", ""),
        platform.python_version(),
        *(f"{package} {_version(package)}" for package in _PACKAGES),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
