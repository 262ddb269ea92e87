"""An S3 server of the tests' own (moto) in its own process, which may be killed and started again."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from pyarrow import fs

from tests.helpers import ROOT
from tests.helpers.search.processes import wait_until

KEY, SECRET = "AKIDOFTESTS", "secret-7Hq2vNpR"
BUCKET = "cars"
_PYTHON = ROOT / ".venv-s3" / "bin" / "python"
"""moto needs other versions of packages than carsearch, so it has an environment of its own."""
_SERVER = Path(__file__).with_name("moto_server.py")


class S3Server:
    """One server with one bucket. What it has confirmed is there again after a kill and a start."""

    def __init__(self, folder: Path, *, inside: Sequence[str] = (), ip: str = "127.0.0.1") -> None:
        """folder: for what is stored. inside: prefix of commands that run in the server's network, where it listens on
        `ip`. Skips the test where moto is not installed."""
        self._inside, self._ip = list(inside), ip
        if not _PYTHON.exists():
            pytest.skip("no S3 server: 'make s3-server' installs moto into .venv-s3")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self._log = folder / "s3.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        make = f"import urllib.request as u; u.urlopen(u.Request('http://{ip}:{self.port}/{BUCKET}', method='PUT'))"
        subprocess.run([*self._inside, sys.executable, "-c", make], check=True, capture_output=True)

    def url(self, prefix: str = "photos", *, port: int | None = None) -> str:
        """The address of a prefix. port: of a proxy in between."""
        where = f"endpoint_override={self._ip}:{port or self.port}"
        return f"s3://{BUCKET}/{prefix}?scheme=http&{where}&region=us-east-1"

    def environment(self) -> dict[str, str]:
        """What a client needs to know besides the URL."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}

    def start(self) -> None:
        """Starts the server, and waits until it answers."""
        self._process = subprocess.Popen(
            [*self._inside, _PYTHON, _SERVER, self._ip, str(self.port), self._log],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        wait_until(self._answers, "moto answers", within_s=120)

    def put(self, name: str, content: bytes) -> None:
        """Stores one file."""
        with self.system().open_output_stream(f"{BUCKET}/{name}", compression=None) as target:
            target.write(content)

    def get(self, name: str) -> bytes:
        """The content of one file."""
        with self.system().open_input_stream(f"{BUCKET}/{name}", compression=None) as source:
            return bytes(source.read())

    def names(self, prefix: str) -> list[str]:
        """Names of all files below a prefix, relative to it."""
        base = f"{BUCKET}/{prefix}/"
        found = self.system().get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(base) for info in found if info.type == fs.FileType.File)

    def kill(self) -> None:
        """Kills the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def system(self) -> fs.S3FileSystem:
        """The server as pyarrow sees it, if it is in this network."""
        return fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            scheme="http",
            endpoint_override=f"{self._ip}:{self.port}",
            region="us-east-1",
            allow_bucket_creation=True,
            background_writes=False,
            allow_delayed_open=True,
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "moto has ended"
        look = [*self._inside, "bash", "-c", f"echo > /dev/tcp/{self._ip}/{self.port}"]
        return subprocess.run(look, capture_output=True, check=False).returncode == 0
