"""Queries of GPUs, answered by a program in place of nvidia-smi."""

import os
import subprocess
from pathlib import Path

import pytest

from carcls.system.nvidia_smi import query_gpus


def test_a_row_for_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "80000 MiB"\necho "16000 MiB"\necho "$@" > "$0.asked"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert query_gpus("memory.total") == ["80000 MiB", "16000 MiB"]
    assert (tmp_path / "nvidia-smi.asked").read_text().split() == [
        "--query-gpu=memory.total",
        "--format=csv,noheader",
    ]
    query_gpus("name", gpu=" 3")
    assert (tmp_path / "nvidia-smi.asked").read_text().split()[-2:] == ["--id", "3"]
    program.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(subprocess.CalledProcessError):
        query_gpus("name")
    monkeypatch.setenv("PATH", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="nvidia-smi is not on the PATH"):
        query_gpus("name")
