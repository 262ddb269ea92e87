"""What all tests share: quiet libraries, one store per test session, and no network."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test measures time, and other processes slow examples down.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory):
    """Tests never read or fill the user's store."""
    before = os.environ.get("CARSEARCH_STORE")
    os.environ["CARSEARCH_STORE"] = str(tmp_path_factory.mktemp("store"))
    yield
    os.environ.pop("CARSEARCH_STORE")
    if before is not None:
        os.environ["CARSEARCH_STORE"] = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights beside the checkout; skips where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the real photos and weights lie there")
    return folder
