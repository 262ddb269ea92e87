"""Probes Ray's ports as a stranger: `python -m tests.helpers.network.stranger HOST TOKEN PORT...` prints each answer.

TOKEN `-`: shows none; `friend:...`: shows the right one, and asks for nothing to be done. Prints JSON: {port: sorted
answers}. An answer is a gRPC status, `HTTP 401` and the like, or `refused`.
"""

import json
import socket
import sys
import urllib.error
import urllib.request

import grpc

QUESTIONS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "InternalKVGcsService/InternalKVKeys",
    "JobInfoGcsService/GetAllJobInfo",
    "NodeManagerService/GetNodeStats",
    "CoreWorkerService/GetCoreWorkerStats",
    "RayletDriver/ClusterInfo",
)
"""One read-only call for each service of Ray."""

DEEDS = ("ObjectManagerService/Pull",)
"""Of a service that answers no questions; it would obey any holder of the token."""

FRIEND = "friend:"

TIMEOUT_S = 10.0
HTTP_PATH = "get_runtime_envs_info"


def answers(host: str, port: int, token: str | None, asked: tuple[str, ...]) -> set[str]:
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError:
        return {"refused"}
    found = {_asked_by_http(host, port, token)}
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(f"{host}:{port}", options=(("grpc.enable_http_proxy", 0),)) as channel:
        for question in asked:
            try:
                channel.unary_unary(f"/ray.rpc.{question}")(b"", timeout=TIMEOUT_S, metadata=metadata)
                found.add("OK")
            except grpc.RpcError as error:
                found.add(error.code().name)
    return found


def _asked_by_http(host: str, port: int, token: str | None) -> str:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://{host}:{port}/{HTTP_PATH}", data=b"", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return f"HTTP {response.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, ValueError):
        return "no HTTP"
    except Exception as error:  # noqa: BLE001 - a gRPC port answers what http.client takes for many kinds of wrong
        return f"no HTTP ({type(error).__name__})"


if __name__ == "__main__":
    host, shown, *ports = sys.argv[1:]
    token = None if shown == "-" else shown.removeprefix(FRIEND)
    asked = QUESTIONS if shown.startswith(FRIEND) else QUESTIONS + DEEDS
    told = {port: sorted(answers(host, int(port), token, asked)) for port in ports}
    sys.stdout.write(json.dumps(told) + "\n")
