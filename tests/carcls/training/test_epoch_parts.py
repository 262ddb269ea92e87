"""Epochs that are saved and interrupted in their middle end as if nothing had happened."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.errors import CheckpointError, HandedOverError, PartError
from carcls.events import EpochReport, PhaseSeconds, StoreUse
from carcls.input.training_data import TrainingData
from carcls.training.checkpoint import load_state
from carcls.training.epoch_parts import Pauses, batches_done, step_ends, steps_before
from carcls.training.fine_tuning import fine_tune, stage_batches
from carcls.training.part_files import load_part, part_after, part_line
from carcls.training.steps.micro_batches import Accumulation, parts

STAGES = (
    {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.01},
    {"name": "top", "unfreeze": 0.2, "epochs": 2, "learning_rate": 0.003, "early_stopping": {"patience_epochs": 9}},
)
BATCHES = 3  # 18 photos in batches of 8
EPOCHS = 3
BASE = {"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "batch_size": 8, "stages": STAGES}
DEMANDING = {
    "ema": 0.9,
    "head": {"dropout": 0.5},
    "augment": {"policy": "light", "mixup": 0.4, "erase": 0.5},
    "optimizer": {"kind": "adamw", "weight_decay": 0.01},
}
"""Everything random, and all that an optimizer remembers."""


@pytest.fixture(scope="module", autouse=True)
def _deterministic() -> None:
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)


@dataclass
class Run:
    """Attempts at one training. Each is handed over after so many batches, and the next one resumes."""

    config: TrainConfig
    data: TrainingData
    folder: Path
    micro_batch: int | None = None
    reports: list[EpochReport] = field(default_factory=list)
    attempts: int = 0

    def attempt(self, pauses: Pauses | None = None) -> None:
        part, damaged = self.part()
        assert damaged == ()
        self.train(part, pauses)

    def part(self) -> tuple[str | None, tuple[str, ...]]:
        """What the next attempt continues from within an epoch."""
        photos = len(self.data.split.train)
        return part_after(
            self.folder,
            self.resume,
            len(self.reports) + 1,
            fill_of=lambda stage: stage_batches(self.config, stage, self.micro_batch, photos=photos)[1],
        )

    @property
    def resume(self) -> str | None:
        return self.reports[-1].checkpoint if self.reports else None

    def train(self, part: str | None, pauses: Pauses | None = None) -> None:
        fine_tune(
            self.config,
            self.data,
            self.reports.append,
            folder=self.folder,
            attempt=self.attempts,
            resume=self.resume,
            part=part,
            pauses=pauses,
            micro_batch=self.micro_batch,
        )

    def handed_over(self, batches: int) -> None:
        """An attempt that is asked to hand over within its `batches`-th batch. The last one of an epoch does not count,
        since an epoch's end needs no pause."""
        left = [batches]

        def asked() -> bool:
            left[0] -= 1
            return left[0] <= 0

        with pytest.raises(HandedOverError):
            self.attempt(Pauses(asked=asked))
        self.attempts += 1

    def final_state(self) -> dict[str, np.ndarray]:
        return load_state(self.folder / self.reports[-1].checkpoint)[0]


def told(run: Run) -> list[EpochReport]:
    """The reports without what depends on time, the attempt or the store."""
    bare = {"images_per_s": 0, "seconds": PhaseSeconds(0, 0), "store": StoreUse(), "checkpoint": "", "best_weights": ""}
    return [replace(report, notes=(), **bare) for report in run.reports]


def assert_equal(run: Run, whole: Run) -> None:
    assert told(run) == told(whole)
    ours, theirs = run.final_state(), whole.final_state()
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key], err_msg=key)


def config(weights: Path, **changes: object) -> TrainConfig:
    return TrainConfig.model_validate(BASE | {"weights": str(weights)} | changes)


@pytest.fixture(scope="module")
def whole(weights, data, tmp_path_factory) -> Run:
    run = Run(config(weights, **DEMANDING), data, tmp_path_factory.mktemp("whole"))
    run.attempt()
    return run


def test_interruptions_within_epochs_change_no_weight_and_no_number(whole: Run, data, tmp_path: Path) -> None:
    run = Run(whole.config, data, tmp_path)
    run.handed_over(1)  # in the first epoch, of a frozen backbone
    assert (run.reports, sorted(path.name for path in tmp_path.rglob("*.npz"))) == ([], ["part-0001.npz"])
    assert part_line(tmp_path, "attempt-0/part-0001.npz") == "resumes within epoch 1, after 1 of 3 batches"
    run.handed_over(1)  # once more in the same epoch
    run.handed_over(2)  # ends it, and two batches of the second
    assert [report.epoch for report in run.reports] == [1]
    run.attempt()
    assert_equal(run, whole)
    seconds = load_part(whole.config, tmp_path, "attempt-1/part-0001.npz")[1].spent
    assert run.reports[0].seconds.train > seconds.train > 0, "an epoch's seconds are those of all attempts"
    assert run.reports[0].seconds.build > seconds.build > 0


def test_pauses_without_an_interruption_change_nothing(whole: Run, data, tmp_path: Path) -> None:
    run = Run(whole.config, data, tmp_path)
    run.attempt(Pauses(every_s=0.0))
    assert_equal(run, whole)
    names = sorted(path.name for path in tmp_path.rglob("part-*.npz"))
    assert names == [f"part-{epoch:04d}.npz" for epoch in range(1, EPOCHS + 1)], "one file an epoch"
    last = part_line(tmp_path, f"attempt-0/{names[-1]}")
    assert last == f"resumes within epoch {EPOCHS}, after {BATCHES - 1} of {BATCHES} batches"


@pytest.mark.slow
def test_batches_in_parts_are_interrupted_between_batches(weights, data, tmp_path: Path) -> None:
    recipe = config(weights, head={"batch_norm": False, "dropout": 0.0})
    whole = Run(recipe, data, tmp_path / "whole", micro_batch=4)
    whole.attempt()
    run = Run(recipe, data, tmp_path / "run", micro_batch=4)
    run.handed_over(2)
    run.handed_over(1)
    run.attempt()
    assert_equal(run, whole)


def test_a_part_continues_only_from_its_own_checkpoint(whole: Run, data, tmp_path: Path) -> None:
    run = Run(whole.config, data, tmp_path)
    run.handed_over(1)
    (file,) = tmp_path.rglob("part-*.npz")
    assert part_after(tmp_path, None, 1) == ("attempt-0/part-0001.npz", ())
    assert part_after(tmp_path, "attempt-0/epoch-0001.npz", 1) == (None, ())
    assert part_after(tmp_path, None, 2) == (None, ())

    other = whole.config.model_copy(update={"seed": 5})
    with pytest.raises(CheckpointError, match="another configuration: seed changed"):
        load_part(other, tmp_path, "attempt-0/part-0001.npz")
    file.write_bytes(file.read_bytes()[:-9])
    name, damaged = part_after(tmp_path, None, 1)
    assert name is None
    assert len(damaged) == 1
    assert str(file) in damaged[0]


def test_a_part_whose_batches_were_filled_otherwise_is_not_continued(weights, data, tmp_path: Path) -> None:
    """As after a lack of memory: batches of 9 are equal, but parts of at most 5 are 5 and 4 photos, and filled."""
    recipe = config(weights, batch_size=9, stages=STAGES[:1], head={"batch_norm": False, "dropout": 0.0})
    run = Run(recipe, data, tmp_path / "run")
    run.handed_over(1)
    assert run.part() == ("attempt-0/part-0001.npz", ())
    run.micro_batch = 5
    name, unusable = run.part()
    assert name is None
    assert unusable == (f"{tmp_path}/run/attempt-0/part-0001.npz: its batches were filled up to another size than now",)
    with pytest.raises(PartError, match="that epoch again"):
        run.train("attempt-0/part-0001.npz")
    run.train(None)
    whole = Run(recipe, data, tmp_path / "whole", micro_batch=5)
    whole.attempt()
    assert_equal(run, whole)


def test_steps_and_batches_of_an_epoch_in_parts() -> None:
    cut = Accumulation(4, parts(18, batch_size=8, micro_batch=4))  # batches of 6 in two parts each
    ends = step_ends(cut, 3)
    assert ends.tolist() == [False, True] * 3
    assert [batches_done(ends, steps) for steps in (0, 2, 4, 6)] == [0, 1, 2, 3]
    assert [steps_before(ends, batches) for batches in (0, 1, 2)] == [0, 2, 4]
    with pytest.raises(CheckpointError, match="3 batches of an epoch of 3"):
        steps_before(ends, 3)


def test_pauses_are_due_regularly_and_when_asked_for() -> None:
    now_s, is_asked = [10.0], [False]
    pauses = Pauses(every_s=60.0, asked=lambda: is_asked[0], clock_s=lambda: now_s[0])
    pauses.begin()
    assert not pauses.is_due()
    now_s[0] += 60.0
    assert pauses.is_due()
    pauses.begin()
    assert not pauses.is_due()
    is_asked[0] = True
    assert pauses.is_due()
    assert not Pauses().is_due()
