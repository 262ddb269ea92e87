import subprocess
import sys

from search.cluster.entry import PRELOAD


def test_a_child_imports_nothing_of_ray() -> None:
    """The fork server has the preloaded modules; what else the main function's module needs, each child would pay."""
    program = f"import sys; [__import__(name) for name in {PRELOAD}]; print([m for m in sys.modules if m == 'ray'])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
