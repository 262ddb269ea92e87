"""The cache of compiled programs: its folder, its size, and that a second process finds what the first compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carcls.backend import compile_cache
from carcls.backend.compile_cache import CompileCache, folder_name, prune, size_bytes


def test_the_folder_says_which_versions_on_which_device(monkeypatch):
    plain = folder_name("tensorflow")
    assert plain.startswith("tensorflow-2.21.")
    assert "-keras-3.15." in plain
    monkeypatch.setattr(compile_cache, "gpu_rows", lambda fields: ["NVIDIA A10, 550.54"])
    assert folder_name("tensorflow") not in (plain, "")
    assert folder_name("tensorflow").rpartition("-")[0] == plain.rpartition("-")[0]
    other_gpu = folder_name("tensorflow")
    monkeypatch.setattr(compile_cache, "gpu_rows", lambda fields: ["NVIDIA A10, 570.01"])
    assert folder_name("tensorflow") != other_gpu, "another driver"


def test_the_least_recently_used_programs_go_first(tmp_path: Path) -> None:
    for age, name in enumerate(["jax-1/new", "jax-1/middle", "jax-0/old"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9 - age, 1e9 - age))
    assert size_bytes(tmp_path) == 300
    assert prune(tmp_path, 300) == 0
    assert prune(tmp_path, 150) == 200
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["new"]
    assert prune(tmp_path / "absent", 0) == 0


def test_tensorflow_is_told_the_folder_beside_the_users_own_flags(tmp_path: Path) -> None:
    cache, environment = CompileCache(tmp_path / "compiled", 1000), {"TF_XLA_FLAGS": "--tf_xla_clustering_debug"}
    for _ in range(2):
        cache.use(environment)
    folder = tmp_path / "compiled" / folder_name("tensorflow")
    assert folder.is_dir()
    flags = f"--tf_xla_clustering_debug --tf_xla_persistent_cache_directory={folder}"
    assert environment == {"TF_XLA_FLAGS": flags}


def test_a_folder_that_cannot_be_written_only_means_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment: dict[str, str] = {}
    CompileCache(tmp_path / "file", 1000).use(environment)
    assert environment == {}


PROGRAM = """
import json, sys
from pathlib import Path
from carcls.backend import devices
from carcls.backend.compile_cache import CompileCache
cache = CompileCache(Path(sys.argv[1]), 10**9)
devices.configure(threads=1, deterministic=False, gpu_memory_share=None, compiled=cache)
import tensorflow as tf
value = tf.function(lambda x: tf.reduce_sum(x * x), jit_compile=True)(tf.constant([3.0, 4.0]))
files = [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
print(json.dumps([float(value), len(files), max(path.stat().st_mtime_ns for path in files)]))
"""


@pytest.mark.slow
def test_a_second_process_finds_what_tensorflow_compiled_in_the_first(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            capture_output=True,
            text=True,
            env=os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""},
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0][:2] == [25.0, 1]
    assert found[1] == found[0], "nothing was compiled again"
