"""Checks whether a cluster grants access before Ray connects, because Ray retries for 20 to 40 s and names no cause."""

import enum
import os

import grpc

from carcls.system.home import home_folder
from search.errors import ClusterError
from search.on_ray.auth import AUTH_ENV, AUTH_PATH_ENV, DEFAULT_FILE, MODE_ENV, Token, find_token, using_token
from search.on_ray.ray_private import CHECK_ALIVE, bootstrap_address, gcs_channel
from search.terminal.logs import get_logger

_TIMEOUT_S = 5.0

_logger = get_logger(__name__)


class Access(enum.Enum):
    """How a control store answers."""

    ALLOWED = "allowed"
    DENIED = "denied"
    """The token is missing or wrong."""
    UNREACHABLE = "unreachable"
    """No answer, or not from a control store of Ray."""


def resolve_address(address: str) -> str:
    """HOST:PORT of the control store that `--address` means. Raises ClusterError."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address}: Ray's client protocol cannot carry a search: run carsearch on a node of the cluster, with"
            " --address auto or HOST:PORT"
        )
    try:
        found = bootstrap_address(address)
    except ConnectionError as error:
        raise ClusterError(
            f"--address {address}: no Ray cluster runs on this machine: start one with 'ray start', or give HOST:PORT"
        ) from error
    except ValueError as error:
        raise ClusterError(f"--address {address}: expected auto or HOST:PORT") from error
    if found is None:
        raise ClusterError(f"--address {address}: expected auto or HOST:PORT; leave it out to search on this machine")
    return found


def check_access(address: str) -> None:
    """Checks that the cluster at `--address` would grant access, before a study is created or changed for a search.

    Raises ClusterError, in one line and within seconds, if it would not.
    """
    _token_for(resolve_address(address))


def access_token(address: str) -> str | None:
    """The token for the cluster at HOST:PORT, or None, with a warning, if the cluster requires none.

    Raises ClusterError as `check_access` does.
    """
    token = _token_for(address)
    if token is None:
        _logger.warning(
            "the Ray cluster at %s requires no token: anyone who reaches its ports can run code there; set %s=token on"
            " every node before 'ray start'",
            address,
            MODE_ENV,
        )
    return token


def _token_for(address: str) -> str | None:
    open_to_all = try_access(address, None)
    if open_to_all is Access.ALLOWED:
        return None
    if open_to_all is Access.UNREACHABLE:
        raise ClusterError(
            f"no Ray cluster answers at {address} within {_TIMEOUT_S:g} s: check host, port (6379 unless 'ray start"
            " --port' says otherwise) and firewall"
        )
    home = home_folder()
    token = find_token(os.environ, home)
    if token is None:
        raise ClusterError(
            f"the Ray cluster at {address} requires a token, and none was found: copy the head node's"
            f" ~/{DEFAULT_FILE} to {home / DEFAULT_FILE} (chmod 600), or set {AUTH_PATH_ENV} to its file"
            f" or {AUTH_ENV} to it"
        )
    if try_access(address, token) is not Access.ALLOWED:
        raise ClusterError(
            f"the Ray cluster at {address} refuses the token from {token.where}: it is another cluster's; use the one"
            f" with which its head node was started, by {AUTH_PATH_ENV}, {AUTH_ENV} or ~/{DEFAULT_FILE}"
        )
    return token.value


def try_access(address: str, token: Token | None) -> Access:
    """Makes one call to HOST:PORT, with this token or none. Takes 5 s at most."""
    metadata = () if token is None else (("authorization", f"Bearer {token.value}"),)
    with using_token(None), gcs_channel(address) as channel:
        try:
            channel.unary_unary(CHECK_ALIVE)(b"", timeout=_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            denials = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            return Access.DENIED if error.code() in denials else Access.UNREACHABLE
    return Access.ALLOWED
