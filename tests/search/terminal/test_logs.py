import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.terminal.logs import get_logger, redact, setup


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    roots = [logging.getLogger(name) for name in ("search", "carcls")]
    before = [(root.level, root.propagate, list(root.handlers)) for root in roots]
    yield
    for root, (level, propagate, handlers) in zip(roots, before, strict=True):
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.setLevel(level)
        root.propagate = propagate
        root.handlers[:] = handlers


def test_both_packages_write_plain_lines_to_console_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "driver.log"
    setup(file)
    get_logger("search.on_ray.search").info("trial %d promoted", 3)
    get_logger("carcls.training").debug("not shown")
    get_logger("carcls.training").warning("smaller micro-batch")
    lines = file.read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in lines] == [
        "INFO search.on_ray.search: trial 3 promoted",
        "WARNING carcls.training: smaller micro-batch",
    ]
    assert capsys.readouterr().err.splitlines() == lines


def test_called_again_it_replaces_and_the_file_is_appended(tmp_path: Path):
    file = tmp_path / "driver.log"
    for number in range(2):
        setup(file)
        get_logger("search").info("run %d", number)
    assert [line[-5:] for line in file.read_text().splitlines()] == ["run 0", "run 1"]


def test_secrets_do_not_reach_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f00dcafe-1234")
    file = tmp_path / "driver.log"
    setup(file)
    try:
        raise ValueError("bad token f00dcafe-1234")
    except ValueError:
        get_logger("search").exception("cannot join %s", "postgresql://me:hunter2@db/cars")
    text = file.read_text()
    assert "postgresql://me:***@db/cars" in text
    assert "bad token ***" in text
    assert "f00dcafe" not in text
    assert "hunter2" not in text


def test_only_what_is_named_like_a_secret_is_replaced():
    environment = {"HOME": "somewhere", "MY_TOKEN": "short", "DB_PASSWORD": "long enough"}
    assert redact("somewhere short and long enough http://host:80/a@b", environment) == (
        "somewhere short and *** http://host:80/a@b"
    )
