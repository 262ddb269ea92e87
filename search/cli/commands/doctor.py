"""carsearch doctor: what works on this machine, and what to do about what does not."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import typer

from search.cli.exit_codes import FAILED
from search.terminal.console import say
from search.terminal.formatting import count_text, size_text

_PYTHONS = ((3, 11), (3, 12))
_PACKAGES = ("tensorflow", "keras", "ray", "optuna", "albumentations")
_LOW_DISK_BYTES = 5e9
_PROBE_S = 120
_FRAMEWORK_PROBE = """\
import keras, tensorflow
print(len(tensorflow.config.list_physical_devices("GPU")), float(keras.ops.sum(keras.ops.ones((4, 4)))))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    state: Literal["ok", "note", "problem"]
    about: str
    text: str
    """What was found, and what to do if it is not `ok`."""

    @property
    def line(self) -> str:
        """For the terminal."""
        return f"{self.state:8}{self.about}: {self.text}"


def doctor(
    results: Annotated[Path, typer.Option(help="The folder where studies will be.")] = Path("results"),
) -> None:
    """Check Python, TensorFlow, GPUs, disk, weights and ports: what works, and what to do. Exit 1 on a problem.

    Opens no connection except to the loopback, and to the server of the ImageNet weights if none are on this machine.
    """
    found = []
    for finding in findings(results):
        say(finding.line)
        found.append(finding)
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(FAILED)


def findings(results: Path) -> Iterator[Finding]:
    """Everything that is looked at, in order."""
    yield python_finding(sys.version_info[:2], sys.executable)
    yield packages_finding(_installed)
    yield from framework_findings()
    yield disk_finding(results)
    yield ports_finding()
    home = home_finding()
    yield home
    if home.state == "ok":  # both are below it by default
        yield store_finding()
        yield weights_finding()


def python_finding(found: tuple[int, ...], executable: str) -> Finding:
    """Whether this Python is one that carsearch is tested with. Pure."""
    text = f"{found[0]}.{found[1]} ({executable})"
    if found in _PYTHONS:
        return Finding("ok", "Python", text)
    return Finding("problem", "Python", f"{text}; use 3.11 or 3.12")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def packages_finding(installed: Callable[[str], str | None]) -> Finding:
    """Whether the large dependencies are installed."""
    versions = {package: installed(package) for package in _PACKAGES}
    missing = [package for package, found in versions.items() if found is None]
    if missing:
        return Finding("problem", "packages", f"{', '.join(missing)} missing; install carsearch again")
    return Finding("ok", "packages", ", ".join(f"{package} {found}" for package, found in versions.items()))


def framework_findings() -> Iterator[Finding]:
    """Loads TensorFlow in a process of its own, so that a crash is a finding, and counts its GPUs."""
    from search.worker.machine_memory import gpu_count

    done = subprocess.run(  # noqa: S603 - this Python, with a fixed program
        [sys.executable, "-c", _FRAMEWORK_PROBE],
        capture_output=True,
        text=True,
        timeout=_PROBE_S,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        yield Finding("problem", "TensorFlow", f"cannot be loaded: {last}; install carsearch again")
        return
    yield Finding("ok", "TensorFlow", "loads and computes")
    yield gpu_finding(int(done.stdout.split()[0]), gpu_count())


def gpu_finding(framework: int, driver: int) -> Finding:
    """framework: GPUs that TensorFlow sees. driver: those that nvidia-smi lists. Pure."""
    if framework and framework == driver:
        return Finding("ok", "GPUs", f"{framework}: a trial gets one each")
    if driver > framework:
        return Finding(
            "problem",
            "GPUs",
            f"nvidia-smi lists {driver}, TensorFlow sees {framework}: install it with its CUDA libraries"
            " (the extra `gpu` of carsearch)",
        )
    if framework:
        return Finding("problem", "GPUs", f"TensorFlow sees {framework}, but nvidia-smi is not on the PATH: add it")
    return Finding("note", "GPUs", "none: trials use CPU cores; 'carsearch init' sizes the search for that")


def disk_finding(results: Path) -> Finding:
    """Free space and permission where studies will be."""
    there = next(folder for folder in (results.absolute(), *results.absolute().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Finding("problem", "results", f"{there} is not a writable folder: choose another with `results:`")
    return _space("results", there)


def store_finding() -> Finding:
    """Free space of the store's disk."""
    from carcls.store import default_store_root

    root = default_store_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return _space("store", there, shown=root)


def _space(about: str, folder: Path, *, shown: Path | None = None) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{shown or folder}: {size_text(free)} free"
    if free < _LOW_DISK_BYTES:
        return Finding("note", about, f"{text}; a search may need more: see `search.checkpoints` and `store`")
    return Finding("ok", about, text)


def weights_finding() -> Finding:
    """Weights of known backbones on this machine, or whether they can be downloaded."""
    from carcls.inspection.weights_at_hand import keras_models_folder, weights_in, weights_server_answers

    folder = keras_models_folder()
    found = weights_in([folder])
    if found:
        names = ", ".join(sorted({one.backbone for one in found}))
        return Finding("ok", "weights", f"{count_text(len(found), 'file')} in {folder}: {names}")
    if weights_server_answers():
        return Finding("ok", "weights", "none here yet; the first search downloads them")
    return Finding(
        "note",
        "weights",
        f"none in {folder}, and their server does not answer: give your own with 'carsearch init DATA --weights FILE'",
    )


def ports_finding() -> Finding:
    """Whether Ray could open ports on the loopback."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5):
            return Finding("ok", "ports", "the loopback accepts connections, as Ray needs")
    except OSError as error:
        return Finding("problem", "ports", f"127.0.0.1: {error.strerror or error}: allow connections on the loopback")


def home_finding() -> Finding:
    """Whether the home folder exists and is writable."""
    from carcls.errors import CarclsError
    from carcls.system.home import home_folder

    try:
        return Finding("ok", "home", str(home_folder()))
    except CarclsError as error:
        return Finding("problem", "home", str(error))
