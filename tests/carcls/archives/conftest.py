"""A folder to unpack into, inside another that must stay empty."""

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    outer = tmp_path / "outer"
    outer.mkdir()
    return outer / "root"
