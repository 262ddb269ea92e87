"""Which device a range test trains on, without training."""

from pathlib import Path

import pytest

from search.experiment.experiment import load
from search.rates import run
from search.rates.run import gpu_share, run_rate_test
from tests.helpers.search.tiny import EXPERIMENT, write_tiny


@pytest.mark.parametrize(
    ("wished", "gpus", "share"),
    [(None, 0, None), (None, 1, 1.0), (None, 4, 1.0), (0.5, 1, 1.0), (2.0, 4, 1.0), (0.0, 1, None), (1.0, 0, None)],
)
def test_the_first_gpu_trains_unless_the_file_wants_none(wished: float | None, gpus: int, share: float | None) -> None:
    assert gpu_share(wished, gpus=gpus) == share


@pytest.mark.parametrize(
    ("wishes", "granted"), [("{cpus_per_trial: 1}", (1.0, 0)), ("{gpus_per_trial: 0}", (None, None))]
)
def test_the_process_is_set_up_for_that_device_and_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wishes: str, granted: tuple[float | None, int | None]
) -> None:
    told: list[object] = []

    def configure(*, threads: int | None, deterministic: bool, gpu_memory_share: float | None, gpu: int | None) -> None:
        told.append((gpu_memory_share, gpu))

    monkeypatch.chdir(tmp_path)
    text = EXPERIMENT.replace("{cpus_per_trial: 1, gpus_per_trial: 0}", wishes)
    experiment = load(write_tiny(tmp_path, text))
    monkeypatch.setattr(run, "gpu_count", lambda: 2)
    monkeypatch.setattr(run.devices, "configure", configure)
    monkeypatch.setattr(run.devices, "describe", lambda: "a GPU")
    monkeypatch.setattr(run, "find_rates", lambda *_: ())
    run_rate_test(experiment, low=1e-6, high=1.0, steps=10, on_device=told.append, on_stage=told.append)
    assert told == [granted, "a GPU"]
