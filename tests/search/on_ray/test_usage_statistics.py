"""Ray sends no statistics unless its user wants it."""

from pathlib import Path

import pytest

from search.on_ray.usage_statistics import turn_off

NAME = "RAY_USAGE_STATS_ENABLED"


def env(home: Path, **before: str) -> dict[str, str]:
    environment = dict(before)
    turn_off(environment, home)
    return environment


@pytest.mark.parametrize("text", [None, "{}", '{"usage_stats": false}', "[]", "no JSON"])
def test_off_unless_turned_on(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "config.json").write_text(text, encoding="utf-8")
    assert env(tmp_path) == {NAME: "0"}


def test_a_users_choice_stands(tmp_path: Path) -> None:
    assert env(tmp_path, **{NAME: "1"}) == {NAME: "1"}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "config.json").write_text('{"usage_stats": true}', encoding="utf-8")
    assert env(tmp_path) == {}
