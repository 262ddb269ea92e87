"""A fake control store of a Ray cluster, which requires a token."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from ray._private.services import get_node_ip_address


class FakeGcs(grpc.GenericRpcHandler):
    """Grants access with `token`, or to all if it is None; remembers the tokens it received."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.shown: list[str | None] = []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._answer) if call.method.endswith("/CheckAlive") else None

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        shown = dict(context.invocation_metadata()).get("authorization")
        self.shown.append(shown)
        if self.token is not None and shown != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return request


@contextmanager
def fake_gcs(token: str | None) -> Iterator[tuple[FakeGcs, str]]:
    """A fake store and its HOST:PORT. It is not on the loopback, which Ray replaces by the machine's address."""
    host = get_node_ip_address()
    server = grpc.server(ThreadPoolExecutor(1))
    handler = FakeGcs(token)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port(f"{host}:0")
    server.start()
    try:
        yield handler, f"{host}:{port}"
    finally:
        server.stop(0).wait()
