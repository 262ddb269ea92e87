"""The folder of a study."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cars").mkdir()
    return tmp_path / "cars"
