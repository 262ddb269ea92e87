"""Processes make the same batches as threads, even if they are killed, and never outlive their training."""

import gc
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from carcls.augment.mixing import Mixing
from carcls.config import AugmentConfig, TrainConfig
from carcls.dataset.loading import load_dataset
from carcls.input.batch_worker import pack_plan
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.epoch_plan import EpochPlan
from carcls.input.feeder import Feeder, uses_worker_processes
from carcls.input.pixel_rows import PixelRows
from carcls.input.pixels import PhotosOnDemand
from carcls.input.prefetch import EpochBatches, batches_held
from tests.helpers import ROOT

SIZE_PX, BATCH = 32, 4
LET_GO_S = 5.0


@pytest.fixture(scope="module")
def batch_server():
    """One server for all tests, since a fresh interpreter takes a second to import albumentations."""
    batch_server = BatchWorkerServer.spawned()
    yield batch_server
    batch_server.close()


def config(policy: str = "light", *, image_size: int = SIZE_PX, **augment) -> TrainConfig:
    return TrainConfig(
        backbone="MobileNet",
        image_size=image_size,
        batch_size=BATCH,
        augment=AugmentConfig(policy=policy, **augment),
        stages=({"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-3},),
    )


@pytest.fixture
def feeder(batch_server):
    with Feeder(config(), cores=2, batch_server=batch_server) as feeder:
        yield feeder


def plan(folder: Path, count: int = 41, **changed) -> EpochPlan:
    """Noise in a memory map, as from the store."""
    path = folder / f"{count}-pixels.npy"
    if not path.exists():  # never overwritten while it is mapped
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, SIZE_PX, SIZE_PX, 3), dtype=np.uint8))
    fields = {
        "pixels": np.load(path, mmap_mode="r"),
        "labels": np.arange(count) % 3,
        "order": np.random.default_rng(1).permutation(count),
        "views": np.arange(count) % 2 + 5,
        "class_count": 3,
        "batch_size": BATCH,
        "policy": "light",
        "view_seed": 1,
        "mixing": Mixing(0.0, 0.0, seed=0, epoch=0),
    }
    return EpochPlan(**{**fields, **changed})


def assert_equal_batches(found, expected):
    for (x, y), (expected_x, expected_y) in itertools.zip_longest(found, expected):
        assert (x.dtype, y.dtype) == (np.uint8, np.float32)
        assert np.array_equal(x, expected_x)
        assert np.array_equal(y, expected_y)


def by_hand(plan: EpochPlan):
    return [plan.batch(number) for number in range(plan.batch_count)]


def fed(feeder: Feeder, plan: EpochPlan, threads: int = 2):
    batches = EpochBatches(feeder.plan(plan), threads=threads)
    yield from (batches[number] for number in range(len(batches)))
    batches.close()


def gone(pid: int) -> bool:
    """Whether the process has ended. A zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def assert_all_go(pids: list[int]) -> None:
    deadline = time.monotonic() + LET_GO_S
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in pids if not gone(pid)] == []


def worker_pids(feeder: Feeder, plan: EpochPlan) -> list[int]:
    """Requests a batch from each worker."""
    pids = []
    feeder.plan(plan)
    workers = [feeder._idle.get() for _ in range(feeder._processes)]
    for worker in workers:
        assert worker.batch(plan, 0) is not None
        pids.append(worker._pid)
        feeder._idle.put(worker)
    return pids


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"policy": "strong"},
        {"policy": "medium", "mixing": Mixing(0.4, 1.0, seed=2, epoch=3)},
        {"policy": "light", "mixing": Mixing(0.0, 1.0, seed=2, epoch=3)},
        {"policy": "none", "mixing": Mixing(0.4, 0.0, seed=2, epoch=3)},
        {"cached": True},
    ],
    ids=str,
)
def test_processes_make_the_same_bytes_as_threads(feeder, tmp_path, changed):
    if changed.get("cached"):
        np.save(tmp_path / "view.npy", np.full((41, SIZE_PX, SIZE_PX, 3), 7, np.uint8))
        changed = {"cached": {5: np.load(tmp_path / "view.npy", mmap_mode="r")}}
    wanted = plan(tmp_path, **changed)
    assert_equal_batches(fed(feeder, wanted), by_hand(wanted))


def test_plans_may_change_and_batches_may_come_in_any_order(feeder, tmp_path):
    plans = [plan(tmp_path, policy=policy, views=np.full(41, view)) for policy, view in (("light", 0), ("medium", 1))]
    asked = [(0, 3), (1, 3), (0, 10), (0, 0), (1, 0), (1, 9), (0, 3)]
    found = [feeder.plan(plans[which]).batch(number) for which, number in asked]
    assert_equal_batches(found, [plans[which].batch(number) for which, number in asked])


def test_photos_on_demand_reach_the_processes(feeder, tmp_path, make_root):
    table = load_dataset(make_root({"0": 9, "1": 6}), processes=1).train
    wanted = plan(tmp_path, len(table), pixels=PhotosOnDemand(table, SIZE_PX, processes=1))
    assert_equal_batches(fed(feeder, wanted), by_hand(wanted))


def test_rows_of_several_maps_reach_the_processes_by_the_maps_names(feeder, tmp_path):
    sources = [np.load(tmp_path / name, mmap_mode="r") for name in _saved(tmp_path, counts=(30, 60))]
    rows = np.random.default_rng(2).permutation(90)[:41]
    wanted = plan(tmp_path, pixels=PixelRows(sources, rows))
    assert len(pack_plan(wanted)) < 5000 < sources[0].nbytes
    assert_equal_batches(fed(feeder, wanted), by_hand(wanted))
    joined = plan(tmp_path, pixels=np.concatenate(sources)[rows])
    assert_equal_batches(by_hand(joined), by_hand(wanted))


def _saved(folder, *, counts):
    rng = np.random.default_rng(3)
    for count in counts:
        np.save(folder / f"{count}.npy", rng.integers(0, 256, (count, SIZE_PX, SIZE_PX, 3), dtype=np.uint8))
        yield f"{count}.npy"


def test_batches_keep_their_pixels_while_any_view_exists(feeder, tmp_path):
    """Slots are reused only after their arrays are gone. Without a free slot the trainer makes the batch itself."""
    wanted = plan(tmp_path, 400)
    expected = by_hand(wanted)
    kept = list(fed(feeder, wanted))  # 100 batches, many more than slots
    assert_equal_batches(kept, expected)
    parts = [x[1:3, ::2] for x, _ in kept[:3]]
    del kept
    gc.collect()
    slots = batches_held(2) + 4
    assert len(feeder._slots._free) == slots - len(parts)
    for x, y in fed(feeder, wanted):
        del x, y
    for part, (x, _) in zip(parts, expected, strict=False):
        assert np.array_equal(part, x[1:3, ::2])
    del part, parts
    gc.collect()
    assert len(feeder._slots._free) == slots


def test_an_error_reaches_the_caller_unchanged_and_ends_no_process(feeder, tmp_path):
    pids = worker_pids(feeder, plan(tmp_path))
    with pytest.raises(KeyError, match="wild"):
        feeder.plan(plan(tmp_path, policy="wild")).batch(0)
    wanted = plan(tmp_path)
    assert_equal_batches(fed(feeder, wanted), by_hand(wanted))
    assert not any(map(gone, pids))


def test_a_killed_process_is_named_and_no_batch_is_lost(feeder, tmp_path, caplog):
    wanted = plan(tmp_path, 200)
    expected = by_hand(wanted)
    victim, other = worker_pids(feeder, wanted)
    found = []
    with caplog.at_level(logging.WARNING):
        for number, (x, y) in enumerate(itertools.chain(fed(feeder, wanted), fed(feeder, wanted))):
            found.append((x.copy(), y))  # held batches would use up all slots and hide the killed process
            if number == 10:
                os.kill(victim, signal.SIGKILL)
    assert_equal_batches(found, expected * 2)
    assert [record.getMessage().split(" died")[0] for record in caplog.records] == [f"batch worker {victim}"]
    assert not gone(other)


def test_a_worker_server_that_is_gone_leaves_the_work_to_threads(tmp_path, caplog):
    batch_server = BatchWorkerServer.spawned()
    batch_server.close()
    wanted = plan(tmp_path)
    with caplog.at_level(logging.WARNING), Feeder(config(), cores=2, batch_server=batch_server) as feeder:
        assert_equal_batches(fed(feeder, wanted), by_hand(wanted))
    assert "using threads" in caplog.text


def test_processes_end_with_their_training_and_batches_outlive_them(batch_server, tmp_path):
    wanted = plan(tmp_path)
    with Feeder(config(), cores=2, batch_server=batch_server) as feeder:
        pids = worker_pids(feeder, wanted)
        fed_plan = feeder.plan(wanted)
        first = fed_plan.batch(0)
    assert_all_go(pids)
    assert_equal_batches([first, fed_plan.batch(1)], [wanted.batch(0), wanted.batch(1)])


def test_a_training_fed_by_threads_starts_no_process(tmp_path):
    wanted = plan(tmp_path)
    with Feeder(config("none"), cores=2, batch_server=None) as feeder:
        assert feeder.plan(wanted) is wanted
    assert [uses_worker_processes(config(policy), cores=2) for policy in ("none", "light", "strong")] == [0, 1, 1]
    assert not uses_worker_processes(config("strong"), cores=1)
    assert not uses_worker_processes(config("strong", views=2, cache_views=True), cores=16)


def test_memory_maps_go_by_name_and_parts_of_them_by_value(tmp_path):
    whole = plan(tmp_path, 400)
    assert whole.pixels.nbytes > 10**6
    assert len(pack_plan(whole)) < 20_000
    part = plan(tmp_path, 9, pixels=whole.pixels[3:12])
    for wanted in (whole, part):
        again = pickle.loads(pack_plan(wanted))  # noqa: S301 - our own
        assert np.array_equal(again.pixels, wanted.pixels)
        assert_equal_batches(by_hand(again), by_hand(wanted))


@pytest.mark.parametrize("start", ["forked", "spawned"])
def test_a_killed_trainer_leaves_no_process(tmp_path, start):
    script = ROOT / "tests" / "helpers" / "photos" / "feeding_trainer.py"
    with subprocess.Popen([sys.executable, script, start], stdout=subprocess.PIPE, text=True) as trainer:
        pids = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(pids) == 3
        assert not any(map(gone, pids))
        trainer.kill()
    assert_all_go(pids)
