"""Memory of a machine, read from files as the kernel writes them."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.errors import ClusterError
from search.worker import machine_memory
from search.worker.machine_memory import (
    gpu_count,
    machine_bytes,
    memory_device,
    oom_kills,
    private_bytes,
    was_killed_for_memory,
)

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path):
    """(proc, sys) of a machine with 16 GiB and these additional files."""

    def make(cgroup: str, **files: str) -> tuple[Path, Path]:
        proc, sys = tmp_path / "proc", tmp_path / "sys"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text("MemTotal:       16777216 kB\nMemFree:        1000 kB\n")
        (proc / "self" / "cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return proc, sys

    return make


V2 = "0::/user.slice/run-1.scope\n"
V1 = "5:devices:/\n4:memory,cpu:/box/7\n0::/\n"
EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"


def test_version_2_counts_in_the_processs_own_group(machine) -> None:
    proc, sys = machine(
        V2,
        **{
            "sys__user_dot_slice__run-1_dot_scope__memory_dot_events": EVENTS,
            "sys__user_dot_slice__run-1_dot_scope__memory_dot_max": f"{4 * GIB}\n",
            "proc__vmstat": "pgfault 99\noom_kill 40\n",
        },
    )
    assert oom_kills(proc, sys) == 2
    assert machine_bytes(proc, sys) == 4 * GIB


def test_within_a_container_the_mounted_root_is_its_own(machine) -> None:
    proc, sys = machine(V2, sys__memory_dot_events=EVENTS, sys__memory_dot_max="max\n")
    assert oom_kills(proc, sys) == 2
    assert machine_bytes(proc, sys) == 16 * GIB


def test_version_1_is_read_where_memory_is_still_its(machine) -> None:
    files = {
        "sys__memory__box__7__memory_dot_oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
        "sys__memory__box__7__memory_dot_limit_in_bytes": "9223372036854771712\n",
        "proc__vmstat": "oom_kill 40\n",
    }
    proc, sys = machine(V1, **files)
    assert oom_kills(proc, sys) == 5
    assert machine_bytes(proc, sys) == 16 * GIB


def test_without_a_group_the_machine_counts(machine) -> None:
    proc, sys = machine("", proc__vmstat="pgfault 99\noom_kill 40\n")
    assert oom_kills(proc, sys) == 40


def test_without_sources_nothing_is_known(machine) -> None:
    proc, sys = machine("")
    assert oom_kills(proc, sys) is None
    (proc / "meminfo").unlink()
    with pytest.raises(ClusterError, match="does not report the machine's memory"):
        machine_bytes(proc, sys)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
@given(st.sampled_from([None, -15, -9, -6, 0, 1]), st.none() | st.integers(0, 3), st.none() | st.integers(0, 3))
def test_only_a_sigkill_beside_a_kill_that_was_counted_is_the_kernels(exit_code, before, after) -> None:
    found = was_killed_for_memory(exit_code, kills_before=before, kills_after=after)
    told = before is not None and after is not None
    assert found == (exit_code == -signal.SIGKILL and told and after > before)


def test_this_machine_is_named_by_its_memory() -> None:
    assert memory_device(None) == f"CPU, {machine_bytes() // 2**20} MiB"
    assert private_bytes(os.getpid()) > 10 * 2**20
    assert private_bytes(2**30) == 0


def test_a_gpu_is_named_by_the_drivers_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "NVIDIA H200, 143771 MiB"\necho "$@" > "$0.asked"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    memory_device.cache_clear()
    assert memory_device(0.5) == "NVIDIA H200, 143771 MiB, share 0.5"
    assert "--id 3" in (tmp_path / "nvidia-smi.asked").read_text()
    assert memory_device(0.5, 1) == "NVIDIA H200, 143771 MiB, share 0.5"
    assert "--id 4" in (tmp_path / "nvidia-smi.asked").read_text()
    assert gpu_count() == 2
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert gpu_count() == 0
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpu_count() == 1, "the program lists one"
    memory_device.cache_clear()


def test_mig_slices_count_and_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slices of one card differ in memory, so what one refused says nothing about the other."""
    program = tmp_path / "nvidia-smi"
    listed = "  MIG 3g.20gb Device 0: (UUID: MIG-a)\n  MIG 1g.5gb Device 1: (UUID: MIG-b)\n"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && printf "{listed}" || echo "NVIDIA A100-SXM4-40GB, 40960 MiB"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    memory_device.cache_clear()
    assert gpu_count() == 2
    assert memory_device(1.0, 0) == "MIG 3g.20gb, share 1"
    assert memory_device(1.0, 1) == "MIG 1g.5gb, share 1"
    memory_device.cache_clear()


def test_gpus_of_a_container_without_nvidia_smi_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine_memory, "installed_gpus", lambda: 4)
    assert gpu_count() == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpu_count() == 2
