"""carsearch store: ls, verify, clean."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from carcls.store import Store, damage
from search.cli.app import app
from search.cli.commands.store_table import age_text
from search.experiment.node_store import open_store
from search.experiment.settings import StoreSettings


def ones(blank) -> None:
    blank[:] = 1


def stored(root: Path, kind: str) -> np.ndarray:
    key = {"kind": kind, "size_px": 32, "backbone": "MobileNet"}
    return Store(root).get_or_build(key, (10, 1000), np.uint8, ones)


def store(*arguments: object):
    return CliRunner().invoke(app, ["store", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _nothing_used_before(monkeypatch):
    monkeypatch.setattr(damage, "_opened", {})


def test_ls_lists_what_is_there(tmp_path):
    held = stored(tmp_path, "pixels")
    stored(tmp_path, "features")
    (tmp_path / "half.building").write_bytes(b"12345")
    lines = store("ls", "--root", tmp_path).stdout.splitlines()
    assert lines[0] == f"store: {tmp_path}"
    rows = {line.split("  ")[0]: line.split() for line in lines[1:]}
    assert rows["pixels 32 px"][3:9] == ["10", "x", "1,000", "uint8", "14.2", "kB"]
    assert rows["pixels 32 px"][-2:] == ["yes", "backbone=MobileNet"]
    assert rows["features 32 px"][-2:] == ["no", "backbone=MobileNet"]
    assert rows["left by a dead builder"][-1] == "half.building"
    assert lines[-1] == "3 artefacts, 28.5 kB"
    assert held.shape == (10, 1000)


def test_the_root_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path / "none"))
    assert store("ls").stdout.splitlines() == [f"store: {tmp_path / 'none'}", "empty"]


def test_verify_names_damage_and_exits_with_1(tmp_path):
    stored(tmp_path, "pixels")
    stored(tmp_path, "features")
    good = store("verify", "--root", tmp_path)
    assert (good.exit_code, good.stdout) == (0, f"store: {tmp_path}: 2 checked, 0 damaged\n")
    path = next(tmp_path.glob("*.npy"))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    bad = store("verify", "--root", tmp_path)
    assert (bad.exit_code, bad.stdout) == (1, f"store: {tmp_path}: 2 checked, 1 damaged\n")
    assert f"damaged: {path} (" in bad.stderr
    assert not path.exists()


def test_clean_frees_what_no_process_holds(tmp_path):
    held = stored(tmp_path, "pixels")
    stored(tmp_path, "features")
    size = next(tmp_path.glob("*.npy")).stat().st_size
    none = store("clean", "--root", tmp_path, "--older-than-days", 1)
    assert none.stdout == f"store: {tmp_path}: 0 bytes freed, 2 artefacts left, 1 of them in use\n"
    some = store("clean", "--root", tmp_path)
    assert some.stdout == f"store: {tmp_path}: {size:,} bytes freed, 1 artefacts left, 1 of them in use\n"
    del held
    assert store("clean", "--root", tmp_path, "--kind", "views").stdout.endswith("1 artefacts left, 0 of them in use\n")
    assert store("clean", "--root", tmp_path, "--kind", "pixels").stdout.startswith(
        f"store: {tmp_path}: {size:,} bytes"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s ago"), (59, "59 s ago"), (3600, "1 h ago"), (200_000, "2 d ago")]
)
def test_ages_as_text(seconds, text):
    assert age_text(seconds) == text


def test_settings_become_a_store(tmp_path, monkeypatch):
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path))
    assert open_store(StoreSettings()) == Store(tmp_path)
    given = StoreSettings(root=tmp_path / "x", quota_gb=1.5, enabled=False)
    assert open_store(given) == Store(tmp_path / "x", quota_bytes=1_500_000_000, enabled=False)
