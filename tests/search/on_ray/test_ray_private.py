"""Ray's private names exist at the pinned version and work as expected, and only `ray_private` uses them."""

import inspect
import re
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants
from ray._private.grpc_utils import init_grpc_channel
from ray._raylet import AuthenticationTokenLoader, Config, CoreWorker
from ray.core.generated.common_pb2 import Address
from ray.experimental import internal_kv
from ray.job_config import JobConfig
from ray.tune.experiment import Trial

from search.on_ray import ray_private

ROOT = Path(__file__).parents[3]
PRIVATE = re.compile(r"ray\._|internal_kv|temporary_state|\b_temp_dir\b|_runtime_env_has|ENABLE_RAY_CLUSTER|JobConfig")


def test_only_one_file_uses_private_names() -> None:
    files = [path for path in (ROOT / "search").rglob("*.py") if PRIVATE.search(path.read_text(encoding="utf-8"))]
    assert [path.name for path in files] == ["ray_private.py"]


def test_the_job_overrides_a_method_that_ray_calls() -> None:
    assert "_runtime_env_has_working_dir" in vars(JobConfig)
    assert "_runtime_env_has_working_dir()" in inspect.getsource(ray._private.worker)
    assert ray_private.InstalledCodeJob()._runtime_env_has_working_dir()


def test_the_auth_cache_can_be_cleared() -> None:
    assert callable(Config.initialize)
    assert callable(AuthenticationTokenLoader.instance().reset_cache)


def test_ray_reads_the_switch_that_binds_it_to_the_loopback() -> None:
    before = ray_constants.ENABLE_RAY_CLUSTER
    assert "ENABLE_RAY_CLUSTER" in inspect.getsource(ray._private.services)
    with ray_private.loopback_only():
        assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert ray_constants.ENABLE_RAY_CLUSTER is before


def test_init_accepts_the_temporary_folder(tmp_path: Path) -> None:
    assert ray_private.temp_folder(tmp_path).keys() <= inspect.signature(ray.init).parameters.keys() | {"_temp_dir"}
    assert '"_temp_dir"' in inspect.getsource(ray.init)


def test_a_channel_takes_options() -> None:
    assert "options" in inspect.signature(init_grpc_channel).parameters
    ray_private.gcs_channel("127.0.0.1:1").close()


def test_a_process_can_be_asked_for_its_address() -> None:
    assert callable(CoreWorker.get_owner_address)
    assert {"ip_address", "port"} <= set(Address.DESCRIPTOR.fields_by_name)


def test_a_trial_knows_its_actor() -> None:
    assert ray_private.actor_of(Trial("a_trainable", stub=True)) is None


def test_the_control_store_has_keys() -> None:
    assert {"key", "value", "namespace"} <= inspect.signature(internal_kv._internal_kv_put).parameters.keys()
    assert {"key", "namespace"} <= inspect.signature(internal_kv._internal_kv_exists).parameters.keys()


def test_the_machine_is_counted() -> None:
    assert ray_private.usable_cpus() >= 1
    assert ray_private.usable_gpus() >= 0


def test_addresses_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_private.bootstrap_address("127.0.0.1:6379") is not None
    assert ray_private.bootstrap_address("local") is None
    with pytest.raises(ValueError, match="address"):
        ray_private.bootstrap_address("head")
