"""One finished tiny search for all tests that only look at one; each real search costs half a minute."""

from dataclasses import replace

import pytest

from search.study.folder import StudyFolder
from tests.search.processes import run_cli
from tests.search.ran import Ran
from tests.search.tiny import write_tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The tiny search, run once by the command, undisturbed."""
    cwd = tmp_path_factory.mktemp("finished")
    file = write_tiny(cwd)
    done = run_cli("run", file.name, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(cwd, file, StudyFolder(cwd / "results" / "tiny"), done.stdout + done.stderr)


@pytest.fixture(scope="session")
def retrained(finished: Ran) -> Ran:
    """The same study after `carsearch retrain`."""
    done = run_cli("retrain", str(finished.folder.root), cwd=finished.cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return replace(finished, output=done.stdout)
