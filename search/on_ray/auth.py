"""Finds the token of a Ray cluster, and gives it to Ray while Ray connects.

Without a token, anyone who reaches a port of Ray can run code as its owner. The search order is Ray's own:
https://docs.ray.io/en/releases-2.60.0/ray-security/token-auth.html
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search.errors import ClusterError
from search.on_ray.ray_private import clear_auth_cache

MODE_ENV = "RAY_AUTH_MODE"
AUTH_ENV = "RAY_AUTH_TOKEN"
AUTH_PATH_ENV = "RAY_AUTH_TOKEN_PATH"
DEFAULT_FILE = Path(".ray", "auth_token")
"""Below the home folder."""

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A cluster's token, and where it was found."""

    value: str = field(repr=False)
    where: str
    """For messages."""


def new_token() -> str:
    """256 random bits as hexadecimal digits."""
    return secrets.token_hex(_TOKEN_BYTES)


def find_token(environment: Mapping[str, str], home: Path) -> Token | None:
    """The user's token from RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token; or None.

    Raises ClusterError if the named file is unreadable or empty: the default file may hold another cluster's token.
    """
    if value := environment.get(AUTH_ENV, "").strip():
        return Token(value, f"the environment variable {AUTH_ENV}")
    if named := environment.get(AUTH_PATH_ENV):
        return Token(_read_named(Path(named)), f"{named} ({AUTH_PATH_ENV})")
    default = home / DEFAULT_FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if value := default.read_text(encoding="utf-8").strip():
            return Token(value, str(default))
    return None


def _read_named(path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ClusterError(
            f"{path}: the token file that {AUTH_PATH_ENV} names cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path}: the token file that {AUTH_PATH_ENV} names holds no text") from error
    if not value:
        raise ClusterError(f"{path}: the token file that {AUTH_PATH_ENV} names is empty")
    return value


def restrict_default_file(home: Path) -> None:
    """Makes ~/.ray/auth_token readable only by its owner; `ray get-auth-token --generate` makes it world-readable."""
    with contextlib.suppress(OSError):
        (home / DEFAULT_FILE).chmod(0o600)


@contextlib.contextmanager
def using_token(token: str | None) -> Iterator[None]:
    """Inside, Ray uses this token (or none) and ignores the user's environment.

    Processes that Ray starts inside inherit the token through their environment, which other users cannot read, unlike
    a command line. Afterwards only Ray's memory in this process holds it, so later child processes do not get it.
    """
    before = {name: os.environ.pop(name, None) for name in (MODE_ENV, AUTH_ENV, AUTH_PATH_ENV)}
    os.environ |= {MODE_ENV: "disabled"} if token is None else {MODE_ENV: "token", AUTH_ENV: token}
    clear_auth_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
