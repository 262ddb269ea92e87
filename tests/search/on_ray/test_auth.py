"""Where tokens are found, and which processes get them."""

import os
import stat
from pathlib import Path

import pytest
from ray._raylet import AuthenticationTokenLoader

from search.errors import ClusterError
from search.on_ray.auth import (
    AUTH_ENV,
    AUTH_PATH_ENV,
    MODE_ENV,
    clear_auth_cache,
    find_token,
    new_token,
    restrict_default_file,
    using_token,
)


def keep_at_home(home: Path, text: str) -> Path:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_the_nearer_place_counts(tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.write_text("from the named file\n")
    keep_at_home(tmp_path, "from home\n")
    places = {AUTH_ENV: "from the environment", AUTH_PATH_ENV: str(named)}
    found = [find_token(places, tmp_path), find_token({AUTH_PATH_ENV: str(named)}, tmp_path), find_token({}, tmp_path)]
    assert [token.value for token in found] == ["from the environment", "from the named file", "from home"]
    assert [token.where for token in found] == [
        "the environment variable RAY_AUTH_TOKEN",
        f"{named} (RAY_AUTH_TOKEN_PATH)",
        f"{tmp_path}/.ray/auth_token",
    ]
    assert not any(token.value in repr(token) for token in found)


def test_nothing_is_no_token(tmp_path: Path) -> None:
    assert find_token({}, tmp_path) is None
    keep_at_home(tmp_path, " \n")
    assert find_token({AUTH_ENV: " ", AUTH_PATH_ENV: ""}, tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read: No such file"), (b"\n", "is empty"), (b"\xff", "holds no text")]
)
def test_a_named_file_that_holds_none_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    keep_at_home(tmp_path, "another cluster's")
    if content is not None:
        (tmp_path / "named").write_bytes(content)
    with pytest.raises(ClusterError, match=f"named: the token file that RAY_AUTH_TOKEN_PATH names {message}"):
        find_token({AUTH_PATH_ENV: str(tmp_path / "named")}, tmp_path)


def test_the_default_file_is_closed_to_others(tmp_path: Path) -> None:
    restrict_default_file(tmp_path)  # there is none
    file = keep_at_home(tmp_path, "secret")
    file.chmod(0o644)
    restrict_default_file(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_each_token_is_another() -> None:
    tokens = {new_token() for _ in range(10)}
    assert len(tokens) == 10
    assert all(len(token) == 64 for token in tokens)


def test_ray_is_shown_this_token_and_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODE_ENV, "disabled")
    monkeypatch.setenv(AUTH_ENV, "the user's")
    monkeypatch.delenv(AUTH_PATH_ENV, raising=False)
    before = dict(os.environ)
    shown = []
    for token in ("a" * 64, "b" * 64):
        with using_token(token):
            assert os.environ[MODE_ENV] == "token"
            shown.append(AuthenticationTokenLoader.instance().get_raw_token())
    with using_token(None):
        assert os.environ[MODE_ENV] == "disabled"
        assert AUTH_ENV not in os.environ
    assert shown == ["a" * 64, "b" * 64]
    assert dict(os.environ) == before


def test_what_was_shown_before_does_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    with using_token("a" * 64):
        AuthenticationTokenLoader.instance().get_raw_token()
    with monkeypatch.context() as users:
        users.setenv(MODE_ENV, "token")
        users.setenv(AUTH_ENV, "b" * 64)
        clear_auth_cache()
        assert AuthenticationTokenLoader.instance().get_raw_token() == "b" * 64
    clear_auth_cache()
