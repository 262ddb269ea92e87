"""The token that opens a Ray cluster: found where its user keeps it, and shown to Ray for as long as Ray connects.

Whoever reaches a port of Ray without one runs code as its owner. The order of places is Ray's own:
https://docs.ray.io/en/releases-2.60.0/ray-security/token-auth.html
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled: mypy sees no names

from search.errors import ClusterError

MODE = "RAY_AUTH_MODE"
VALUE = "RAY_AUTH_TOKEN"
PATH = "RAY_AUTH_TOKEN_PATH"
DEFAULT_FILE = Path(".ray", "auth_token")
"""Below the home folder."""

_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """What opens a cluster, and where it was found."""

    value: str = field(repr=False)
    where: str
    """In words, for messages."""


def new_token() -> str:
    """256 random bits, in hexadecimal digits."""
    return secrets.token_hex(_BYTES)


def find_token(environment: Mapping[str, str], home: Path) -> Token | None:
    """The user's token: from RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token.

    Raises ClusterError where the named file cannot be read or is empty: the next place would hold another's token.
    """
    if value := environment.get(VALUE, "").strip():
        return Token(value, f"the environment variable {VALUE}")
    if named := environment.get(PATH):
        return Token(_read_named(Path(named)), f"{named} ({PATH})")
    default = home / DEFAULT_FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if value := default.read_text(encoding="utf-8").strip():
            return Token(value, str(default))
    return None


def _read_named(path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ClusterError(f"{path}: the token file that {PATH} names cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path}: the token file that {PATH} names holds no text") from error
    if not value:
        raise ClusterError(f"{path}: the token file that {PATH} names is empty")
    return value


def close_default_file(home: Path) -> None:
    """`ray get-auth-token --generate` writes the token readable for everybody on the machine."""
    with contextlib.suppress(OSError):
        (home / DEFAULT_FILE).chmod(0o600)


def forget() -> None:
    """Makes Ray, which reads mode and token once in a process, read them again at its next connection."""
    # The mode first: a thread that still runs would miss the token in the old mode.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def presented(token: str | None) -> Iterator[None]:
    """While inside, Ray uses this token and no other, whatever the user's environment says; None: it uses none.

    What Ray starts meanwhile inherits it by its environment, which other users of the machine cannot read, unlike a
    command line. This process keeps it in Ray's memory alone: nothing that it starts later is given it.
    """
    before = {name: os.environ.pop(name, None) for name in (MODE, VALUE, PATH)}
    os.environ |= {MODE: "disabled"} if token is None else {MODE: "token", VALUE: token}
    forget()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
