"""`carsearch run --hours`: what fails beside the final model does not keep it from being submitted."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from carcls.errors import CheckpointError, DiskFullError, OutOfMemoryError
from search.cli.optional_steps import may_be_left_out, reason_of
from search.errors import ClusterError, StudyError
from search.policy.time_plan import DONE, SCORING
from search.study.run_hours import WholeRun
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.untrained_study import BEGUN, add_final, untrained_study


class ResourceExhaustedError(Exception):
    """Named like the framework's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StudyError("nothing to average"), "nothing to average"),
        (ClusterError("no cluster"), "no cluster"),
        (CheckpointError("best.npz is damaged"), "best.npz is damaged"),
        (DiskFullError("disk full"), "disk full"),
        (OutOfMemoryError("no room"), "no room"),
        (PermissionError(13, "Permission denied", "a.npz"), "a.npz: Permission denied"),
        (MemoryError(), "out of memory (MemoryError)"),
        (
            ResourceExhaustedError("OOM when allocating\na page"),
            "out of memory (ResourceExhaustedError: OOM when alloc",
        ),
    ],
)
def test_a_step_is_left_out_if_files_memory_or_the_machine_fail(error: Exception, reason: str) -> None:
    assert may_be_left_out(error)
    assert reason_of(error).startswith(reason)
    assert "\n" not in reason_of(error)


@pytest.mark.parametrize("error", [TypeError("a mistake"), KeyError("x"), RuntimeError("no"), typer.Exit(143)])
def test_mistakes_and_exit_codes_pass(error: Exception) -> None:
    assert not may_be_left_out(error)


def test_the_final_model_is_handed_in_whatever_fails_beside_it(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=2", per_class=5)
    add_final(folder, experiment)
    folds = folder.retrain_study.folds
    folds.write_text(folds.read_text(encoding="utf-8").replace(",0,", ",x,"), encoding="utf-8")
    with Study.open(folder.root) as study:
        BEGUN.keep(study)
    folder.beside(1).retrain.write_bytes(b"no folder")
    folder.ensemble.mkdir()
    folder.ensemble_model.write_bytes(b"an ensemble from before the final training")
    where = ("--set", f"results={tmp_path / 'results'}", "--set", f"data.root={tmp_path / 'data'}")
    asked = ("--set", "retrain.folds=2", "--hours", "99", "--or-resume")
    done = run_cli("run", "tiny.yaml", *where, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = folder.beside(1).retrain_study.log
    assert f"final training of trial 0001 failed, and is left out: {log}: cannot be read" in done.stderr
    assert f"no ensemble: {folds}" in done.stderr
    assert f"model: {folder.model}" in done.stdout.splitlines()
    whole = WholeRun.of(Study.open(folder.root, read_only=True))
    assert (whole.stage, whole.counted) == (DONE, ("retrain", "retrain-0001"))
    with Study.open(folder.root) as study:
        replace(whole, stage=SCORING).keep(study)  # as if killed while it scored
    again = run_cli("run", "tiny.yaml", *where, *asked, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"model: {folder.model}" in again.stdout.splitlines()
