"""Whether a trial's GPU has memory for its batches: what changes, and who is told."""

import logging
import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest

from carcls.errors import OutOfMemoryError
from search.worker.child import outcome_of
from search.worker.memory_placement import fitted_micro_batch
from search.worker.outbox import Outbox
from search.worker.segment import Fitted, Message, Notice, Segment

STAGES = [
    {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.1},
    {"name": "full", "unfreeze": 1.0, "epochs": 1, "learning_rate": 0.1, "batch_norm": "frozen"},
]
CONFIG = {
    "backbone": "MobileNet",
    "alpha": 0.25,
    "weights": "none",
    "image_size": 64,
    "batch_size": 64,
    "head": {"batch_norm": False},
    "stages": STAGES,
}
SEGMENT = Segment(
    study="/results/tiny",
    number=3,
    attempt=0,
    config=CONFIG,
    resume=None,
    stop_after_stage=1,
    data_root="/data",
    view_seed=7,
    store={},
    threads=1,
    gpu_share=0.5,
    deterministic=True,
)


def _sent(messages: Connection) -> list[Message | Fitted]:
    found = []
    while messages.poll():
        found.append(messages.recv())
    return found


@pytest.fixture
def pipe() -> tuple[Connection, Outbox]:
    messages, child_messages = multiprocessing.Pipe(duplex=False)
    return messages, Outbox(child_messages)


def test_a_cpu_changes_nothing(pipe: tuple[Connection, Outbox]) -> None:
    for micro_batch in ([], [None, 8]):
        segment = replace(SEGMENT, gpu_share=None, micro_batch=micro_batch)
        assert fitted_micro_batch(segment, pipe[1], limit_bytes=1) == micro_batch
    assert _sent(pipe[0]) == []


def test_a_card_of_unknown_or_ample_memory_changes_nothing(
    pipe: tuple[Connection, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert fitted_micro_batch(SEGMENT, pipe[1]) == []
    assert fitted_micro_batch(SEGMENT, pipe[1], limit_bytes=10**11) == []
    assert _sent(pipe[0]) == []


def test_a_small_share_starts_with_fewer_photos_and_says_so(pipe: tuple[Connection, Outbox]) -> None:
    head, full = fitted_micro_batch(SEGMENT, pipe[1], limit_bytes=20_000_000)
    assert head is None
    assert full is not None
    assert 1 <= full < 64
    fitted, notice = _sent(pipe[0])
    assert fitted == Fitted([None, full])
    assert isinstance(notice, Notice)
    assert notice.level == logging.INFO
    assert notice.text.startswith(f"trial 3: stage 'full' starts with {full} photos at once: 64 photos at once are")


def test_a_trial_that_cannot_fit_is_refused_as_out_of_memory(pipe: tuple[Connection, Outbox]) -> None:
    with pytest.raises(OutOfMemoryError) as error:
        fitted_micro_batch(SEGMENT, pipe[1], limit_bytes=1_000_000)
    assert _sent(pipe[0]) == [Fitted([None, 1])], "the record names the smallest micro-batch"
    outcome = outcome_of(error.value)
    assert (outcome.kind, outcome.stage) == ("out_of_memory", 1)
    assert outcome.cause is not None
    assert "not tried, because 64 photos at once are predicted to need" in outcome.cause
