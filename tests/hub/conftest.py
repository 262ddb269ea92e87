"""Tests with KerasHub run where it is installed: `make hub`."""

import numpy as np
import pytest

from tests.carcls.training.conftest import data  # noqa: F401 - a fixture

INSTALLED = "keras_hub is not installed: run `make hub`"


@pytest.fixture(scope="session", autouse=True)
def _hub():
    pytest.importorskip("keras_hub", reason=INSTALLED)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
