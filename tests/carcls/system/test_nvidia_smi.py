"""Queries of GPUs, answered by a program in place of nvidia-smi."""

import os
import subprocess
from pathlib import Path

import pytest

from carcls.system.nvidia_smi import gpu_rows, installed_gpus, is_mig, mib, mig_slices, query_gpus


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


LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
"""


def test_mig_slices_are_named_by_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert mig_slices() == {
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f": "MIG 3g.20gb",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb": "MIG 1g.5gb",
    }
    assert is_mig(" MIG-cba663e8")
    assert not is_mig("GPU-5c89852c")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert mig_slices() == {}
    assert gpu_rows("name") == []


def test_what_a_gpu_does_not_know_is_no_number(tmp_path: Path) -> None:
    assert [mib(text) for text in ("81559 MiB", " 12 MiB", "[N/A]", "[Not Supported]", "")] == [81559, 12] + [None] * 3
    (tmp_path / "0000:01:00.0").mkdir()
    assert installed_gpus(tmp_path) == 1
    assert installed_gpus(tmp_path / "absent") == 0
