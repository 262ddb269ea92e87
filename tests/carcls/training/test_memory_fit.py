"""Micro-batches that are predicted to fit, for real configurations."""

from carcls.config import HeadConfig, OptimizerConfig, StageConfig, TrainConfig
from carcls.models.memory_need import Optimizer
from carcls.training.memory_fit import fit_to_memory, granted_bytes, optimizer_of

CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=32,
    batch_size=64,
    head=HeadConfig(batch_norm=False),
    stages=(
        StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),
        StageConfig(name="full", unfreeze=1.0, epochs=1, learning_rate=1e-3, batch_norm="frozen"),
        StageConfig(name="large", unfreeze=1.0, epochs=1, learning_rate=1e-3, batch_norm="frozen", image_scale=2.0),
    ),
)


def _fit(limit_mb: float, stages: range = range(3), wanted: tuple[int | None, ...] = (None,) * 3):
    return fit_to_memory(CONFIG, wanted, stages=stages, limit_bytes=int(limit_mb * 1e6))


def test_enough_memory_changes_nothing() -> None:
    found = _fit(1000)
    assert (found.micro_batch, found.notes, found.refusal) == ((None, None, None), (), None)
    assert _fit(1000, wanted=(None, 8, 8)).micro_batch == (None, 8, 8)


def test_the_larger_size_starts_with_fewer_photos() -> None:
    found = _fit(20)
    assert found.refusal is None
    head, full, large = found.micro_batch
    assert (head, full) == (None, None)
    assert large is not None
    assert 1 <= large < 64
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"stage 'large' starts with {large} photos at once: 64 photos at once are")
    assert _fit(20, stages=range(2)).micro_batch == (None, None, None), "only the stages of the segment count"


def test_no_photo_fits() -> None:
    found = _fit(1)
    assert found.refusal is not None
    assert found.refusal.stage == 1
    assert found.micro_batch == (None, 1, None)
    text = str(found.refusal)
    assert text.startswith("stage 'full': not tried, because 64 photos at once are predicted to need ")
    assert " GB of 0.001 GB, and 1 do not" in text
    assert "and 1 do not fit either with MobileNet at 32 px" in text


def test_what_an_optimizer_keeps() -> None:
    own = CONFIG.model_copy(update={"optimizer": OptimizerConfig(kind="adamw", amsgrad=True), "ema": 0.99})
    assert optimizer_of(own, accumulates=True) == Optimizer("adamw", amsgrad=True, ema=True, accumulates=True)


def test_without_a_card_the_memory_is_unknown(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert granted_bytes(0.5) is None
