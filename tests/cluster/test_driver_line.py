"""A worker whose link to its driver is cut: a short cut costs nothing, a long one ends it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.network.hosts import Host, Hosts
from tests.helpers.search.processes import kill, wait_until

pytestmark = [pytest.mark.fault, pytest.mark.release]

PORT = 7000
SILENT_S = 25.0
SHORT_CUT_S = 8.0
DRIVER = f"""
import socket
lines = []
with socket.create_server(("0.0.0.0", {PORT})) as server:
    while True:
        lines.append(server.accept())
        print("connected", flush=True)
"""
WORKER = "import time; from search.on_ray.driver_line import follow_driver; follow_driver('{}', {}); time.sleep(600)"


def start(host: Host, code: str, output: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*host.inside, sys.executable, "-c", code], cwd=ROOT, stdout=output.open("w"), stderr=subprocess.STDOUT
    )


@pytest.mark.usefixtures("_hosts_are_possible")
def test_a_worker_outlives_a_short_cut_and_ends_in_a_long_one(tmp_path: Path) -> None:
    with Hosts(tmp_path) as hosts:
        head, other = hosts.add(), hosts.add()
        driver = start(head, DRIVER, tmp_path / "driver.txt")
        worker = start(other, WORKER.format(f"{head.ip}:{PORT}", SILENT_S), tmp_path / "worker.txt")
        try:
            told = tmp_path / "driver.txt"
            wait_until(lambda: "connected" in told.read_text(encoding="utf-8"), "a connection", within_s=60)
            hosts.plug(other, is_in=False)
            time.sleep(SHORT_CUT_S)  # what is tested: the link is away for so long
            hosts.plug(other, is_in=True)
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(timeout=SILENT_S + 5)
            hosts.plug(other, is_in=False)
            took_s = wait_until(lambda: worker.poll() is not None, "its end", within_s=2 * SILENT_S)
            assert worker.returncode == 1
            assert took_s >= SILENT_S - 6, "keepalive may have heard the last answer five seconds before the cut"
        finally:
            kill({driver.pid, worker.pid})
            driver.wait()
            worker.wait()
