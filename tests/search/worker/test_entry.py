import subprocess
import sys
from multiprocessing import Pipe

import pytest

from carcls.errors import FrameworkError
from search.worker import preload
from search.worker.entry import PRELOAD, import_or_report
from search.worker.segment import Outcome


def test_a_child_imports_nothing_of_ray() -> None:
    """The fork server preloads modules; any others that the main function needs, each child would import."""
    program = f"import sys; [__import__(name) for name in {PRELOAD}]; print([m for m in sys.modules if m == 'ray'])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (FrameworkError("Keras cannot be loaded"), "Keras cannot be loaded"),
        (OSError("libcudart.so: no such file\nand more"), "OSError: libcudart.so: no such file"),
    ],
)
def test_what_the_server_could_not_import_is_the_childs_outcome(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, cause: str
) -> None:
    ours, theirs = Pipe(duplex=False)
    monkeypatch.setattr(preload, "import_error", failure)
    assert import_or_report(lambda: print, theirs) is None
    assert ours.recv() == Outcome("unable", cause)


def test_what_a_child_cannot_import_is_its_outcome() -> None:
    ours, theirs = Pipe(duplex=False)

    def load():
        raise ImportError("cannot import name 'x'")

    assert import_or_report(load, theirs) is None
    assert ours.recv() == Outcome("unable", "ImportError: cannot import name 'x'")
    assert import_or_report(lambda: print, theirs) is print
