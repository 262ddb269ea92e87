"""docs/python.md runs from its first line to its last."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

from tests.helpers import ROOT

TOUR = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def code() -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", TOUR, re.MULTILINE | re.DOTALL))


def test_it_names_everything_that_search_offers():
    import search

    assert len(search.__all__) == 10
    assert [name for name in search.__all__ if not re.search(rf"\b{name}\b", TOUR)] == []
    assert set(search.__all__) <= set(dir(search))


@pytest.mark.release
@pytest.mark.slow  # a search of three trials and a final training: under a minute on two idle cores
@pytest.mark.timeout(1200)
def test_the_tour_runs(tmp_path):
    script = tmp_path / "tour.py"
    body = textwrap.indent(code(), "    ")
    script.write_text(f"def main():\n{body}\n\nif __name__ == '__main__':\n    main()\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search: 3 trials by tpe" in done.stdout
    for name in ("curves.png", "dropout.png", "results/tour/submission.csv"):
        assert (tmp_path / name).stat().st_size > 0
