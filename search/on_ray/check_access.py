"""Whether a cluster lets us in, asked before Ray is: Ray itself tries for 20 to 40 s and does not say why it failed."""

import enum
import os

import grpc
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address

from carcls.system.home import home_folder
from search.errors import ClusterError
from search.on_ray.auth import DEFAULT_FILE, MODE, PATH, VALUE, Token, find_token, presented
from search.terminal.logs import get_logger

_CALL = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""The control store's cheapest question; an empty request is a valid one."""

_TIMEOUT_S = 5.0

_logger = get_logger(__name__)


class Answer(enum.Enum):
    """What a control store says to a question."""

    WELCOME = "welcome"
    REFUSED = "refused"
    """Token missing or wrong."""
    SILENT = "silent"
    """Nobody there, or nobody who is a control store of Ray."""


def address_of(address: str) -> str:
    """HOST:PORT of the control store that `--address` means. Raises ClusterError."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address}: Ray's client protocol cannot carry a search: call carsearch on a node of the cluster, with"
            " --address auto or HOST:PORT"
        )
    try:
        found = canonicalize_bootstrap_address(address)
    except ConnectionError as error:
        raise ClusterError(
            f"--address {address}: no Ray cluster runs on this machine: start one by 'ray start', or give HOST:PORT"
        ) from error
    except ValueError as error:
        raise ClusterError(f"--address {address}: expected auto or HOST:PORT") from error
    if found is None:
        raise ClusterError(f"--address {address}: expected auto or HOST:PORT; leave it out to search on this machine")
    return found


def knock(address: str) -> None:
    """Asks the cluster that `--address` means whether it would let us in, and does nothing else: before a study is
    made or changed for a search that could not begin.

    Raises ClusterError, in one line and within seconds, where it would not.
    """
    _token_for(address_of(address))


def admission(address: str) -> str | None:
    """The token by which the cluster at HOST:PORT lets us in; None where it asks for none, which is warned of.

    Raises ClusterError as `knock` does.
    """
    token = _token_for(address)
    if token is None:
        _logger.warning(
            "the Ray cluster at %s asks for no token: whoever reaches its ports can run code there; set %s=token on"
            " every node before 'ray start'",
            address,
            MODE,
        )
    return token


def _token_for(address: str) -> str | None:
    open_to_all = ask(address, None)
    if open_to_all is Answer.WELCOME:
        return None
    if open_to_all is Answer.SILENT:
        raise ClusterError(
            f"no Ray cluster answers at {address} within {_TIMEOUT_S:g} s: check host, port (6379 unless 'ray start"
            " --port' says otherwise) and firewall"
        )
    home = home_folder()
    token = find_token(os.environ, home)
    if token is None:
        raise ClusterError(
            f"the Ray cluster at {address} asks for a token, and there is none: copy the head node's"
            f" ~/{DEFAULT_FILE} to {home / DEFAULT_FILE} (chmod 600), or set {PATH} to its file or {VALUE} to it"
        )
    if ask(address, token) is not Answer.WELCOME:
        raise ClusterError(
            f"the Ray cluster at {address} refuses the token from {token.where}: it is another cluster's; use the one"
            f" with which its head node was started, by {PATH}, {VALUE} or ~/{DEFAULT_FILE}"
        )
    return token.value


def ask(address: str, token: Token | None) -> Answer:
    """One question to HOST:PORT, with this token or none; never more than 5 s. TLS as Ray's environment says."""
    shown = () if token is None else (("authorization", f"Bearer {token.value}"),)
    # The cluster is asked itself, whatever web proxy this shell uses.
    with presented(None), init_grpc_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            channel.unary_unary(_CALL)(b"", timeout=_TIMEOUT_S, metadata=shown)
        except grpc.RpcError as error:
            refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            return Answer.REFUSED if error.code() in refusals else Answer.SILENT
    return Answer.WELCOME
