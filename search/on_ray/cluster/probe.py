"""Checks each node of a cluster before the first trial: same version, same photos, the study within reach."""

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray

from carcls.errors import DataError
from search.errors import StudyError
from search.experiment.file.paths import is_url
from search.experiment.node_store import photos_folder, study_on_node
from search.experiment.settings import StoreSettings
from search.on_ray.cluster.nodes import Node, pinned_to, task_result
from search.terminal.logs import get_logger
from search.worker.node_check import PHOTOS, VERSION, data_fingerprint

_log = get_logger(__name__)

_TIMEOUT_S = 300
_COPY_TIMEOUT_S = 4 * 3600
"""Where a node first copies the photos from a URL."""


def probe_nodes(
    nodes: Sequence[Node], *, study: str, photos_at: str, store: StoreSettings, requires: Mapping[str, str]
) -> tuple[list[Node], dict[Node, list[str]]]:
    """Checks each node: same version, same photos, and that it can read and write the study.

    study: path of the shared folder, or a URL. Returns the nodes that can run the search, and the problems of those
    that cannot. Leaves out nodes lost meanwhile, which a cluster notices late.
    """
    remote = ray.remote(num_cpus=0)(_probe)
    timeout_s = _COPY_TIMEOUT_S if is_url(photos_at) else _TIMEOUT_S
    pending = []
    for node in nodes:
        marker, nonce = f".probe-{node.node_id}", uuid.uuid4().hex
        answer = pinned_to(remote, node).remote(study, photos_at, store.model_dump(mode="json"), marker, nonce)
        pending.append((node, marker, nonce, answer))
    able: list[Node] = []
    unfit: dict[Node, list[str]] = {}
    for node, marker, nonce, answer in pending:
        found, problem = task_result(node, answer, timeout_s=timeout_s)
        if found is None and _is_lost(node):
            _log.warning("%s was lost before the first trial: left out", node.name)
            continue
        if found is None:
            unfit[node] = [problem.removeprefix(f"{node.name}: ")]
            continue
        problems = node_problems(found, requires)
        is_told = is_url(study) and found["error"]
        if not is_told and not _reads_back(study, marker, nonce):
            problems.append(_not_shared(study))
        if problems:
            unfit[node] = problems
        else:
            able.append(node)
    for _, marker, _, _ in pending:
        _remove(study, marker)
    return able, unfit


def problem_lines(unfit: Mapping[Node, Sequence[str]]) -> list[str]:
    """One line for each problem, with its node's name."""
    return [f"{node.name}: {problem}" for node, problems in unfit.items() for problem in problems]


def node_problems(found: Mapping[str, str | None], requires: Mapping[str, str]) -> list[str]:
    """Why a node with these probe results cannot run the search; empty if it can. Pure."""
    problems = []
    if found["version"] != requires[VERSION]:
        problems.append(f"has carsearch {found['version']}, the driver {requires[VERSION]}: install the same version")
    if found["error"]:
        problems.append(found["error"])
    elif found["fingerprint"] != requires[PHOTOS]:
        problems.append("its photos differ from the driver's (sizes or names): data.root must hold the same files")
    return problems


def _is_lost(node: Node) -> bool:
    return any(row["NodeID"] == node.node_id and not row["Alive"] for row in ray.nodes())


def _not_shared(study: str) -> str:
    if is_url(study):
        return f"{study}: what it stored there does not appear here: it must be the same storage"
    return f"its files in {study} do not appear here: results must be shared storage, or a URL"


def _reads_back(study: str, marker: str, nonce: str) -> bool:
    with contextlib.suppress(OSError):
        if not is_url(study):
            return (Path(study) / marker).read_text(encoding="utf-8") == nonce
        from search.study.bucket.bucket import Bucket  # noqa: PLC0415 - pyarrow, only for URLs

        return Bucket(study).get(marker) == nonce.encode()
    return False


def _remove(study: str, marker: str) -> None:
    if not is_url(study):
        (Path(study) / marker).unlink(missing_ok=True)
        return
    from search.study.bucket.bucket import Bucket  # noqa: PLC0415 - pyarrow, only for URLs

    with contextlib.suppress(OSError):  # a file with such a name is part of no study
        Bucket(study).delete(marker)


def _probe(study: str, photos_at: str, store: dict[str, Any], marker: str, nonce: str) -> dict[str, str | None]:
    """Runs on the node: returns its version and its photos' fingerprint, and writes a file for the driver to find."""
    found: dict[str, str | None] = {"version": version("carsearch"), "fingerprint": None, "error": None}
    settings = StoreSettings.model_validate(store)
    try:
        if is_url(study):
            found["error"] = _bucket_problem(study, settings, marker, nonce)
        else:
            (Path(study) / marker).write_text(nonce, encoding="utf-8")
        if not found["error"]:
            split = study_on_node(study, settings) / "split.csv"
            found["fingerprint"] = data_fingerprint(split, photos_folder(photos_at, settings))
    except DataError as error:
        found["error"] = str(error)
    except OSError as error:
        found["error"] = f"{error.strerror}: {error.filename} (results and data must be at the same path on every node)"
    return found


def _bucket_problem(study: str, settings: StoreSettings, marker: str, nonce: str) -> str | None:
    """Brings the study's files to this node and stores the marker. Returns what is wrong, as a clause, or None."""
    from search.worker.stored_trial import access_problem, begun_study  # noqa: PLC0415 - pyarrow, only for URLs

    try:
        begun = begun_study(study, settings)
        begun.bucket.put(marker, nonce.encode())
        begun.forget_trials()  # no trial of this study runs yet
    except (OSError, DataError, StudyError) as error:
        return access_problem(study, error)
    return None
