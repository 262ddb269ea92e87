"""A real `tensorboard` process for tests and benchmarks."""

import json
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DEADLINE_S = 120


class TensorBoard:
    """A `tensorboard` process for one folder, queried over HTTP."""

    def __init__(self, logdir: Path) -> None:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--reload_interval", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._drain, daemon=True).start()
        self.url = self._find_url()

    def _drain(self) -> None:
        for line in self.process.stderr:
            self.lines.put(line)

    def _find_url(self) -> str:
        deadline, seen = time.monotonic() + DEADLINE_S, []
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                seen.append(self.lines.get(timeout=1))
            except queue.Empty:
                continue
            if found := re.search(r"http://127\.0\.0\.1:\d+", seen[-1]):
                return found.group()
        raise TimeoutError("no address from tensorboard:\n" + "".join(seen))

    def ask(self, path: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        # S310: the address is this process's own server, on 127.0.0.1.
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310
            return json.load(answer)

    def runs_loaded(self, expected: set[str]) -> dict[str, dict]:
        """Tags by run, once the server has loaded all of them in the background."""
        deadline, tags = time.monotonic() + DEADLINE_S, {}
        while time.monotonic() < deadline:
            tags = self.ask("/data/plugin/scalars/tags")
            if expected <= set(tags):
                return tags
            time.sleep(0.05)
        raise TimeoutError(f"tensorboard never showed {expected}; it shows {tags}")

    def scalars(self, run: str, tag: str) -> list[list[float]]:
        """(step, value) pairs; empty while the run or tag is unknown."""
        query = urllib.parse.urlencode({"run": run, "tag": tag})
        try:
            return [[step, value] for _, step, value in self.ask(f"/data/plugin/scalars/scalars?{query}")]
        except urllib.error.HTTPError:
            return []

    def end(self) -> None:
        """Ends the process."""
        self.process.terminate()
        self.process.wait(timeout=DEADLINE_S)
