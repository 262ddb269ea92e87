"""Messages between driver and worker arrive unchanged, although Tune flattens nested results."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.utils import flatten_dict

from carcls.events import EpochReport
from carcls.scoring.evidence import Evidence
from search.worker.segment import Fallback, Message, Notice, Outcome, Result, Segment, from_wire, to_wire
from tests.helpers.search.trial_builders import epoch_report

accuracies = st.floats(0, 1)
EVIDENCE = Evidence(np.array([[0.25, 0.75]], np.float16), np.array([[1.0, 0.0]], np.float16))


def over_tune(message: Message) -> Message | None:
    """As the driver gets it: Tune adds keys of its own, and flattens what is nested."""
    return from_wire(flatten_dict({**to_wire(message), "training_iteration": 1, "config": {"segment": {"number": 1}}}))


@settings(max_examples=25, deadline=None)
@given(epoch=st.integers(1, 9999), accuracy=accuracies, notes=st.lists(st.text(max_size=20), max_size=3))
def test_an_epoch_survives_tunes_flattening(epoch: int, accuracy: float, notes: list[str]) -> None:
    report = replace(epoch_report(epoch, accuracy=accuracy), notes=tuple(notes))
    assert over_tune(report) == report


def test_an_epoch_of_nan_is_still_an_epoch() -> None:
    told = over_tune(replace(epoch_report(1), val_log_loss=float("nan")))
    assert isinstance(told, EpochReport)
    assert told.val_log_loss != told.val_log_loss
    assert told.epoch == 1


def test_an_epochs_probabilities_come_with_it() -> None:
    told = over_tune(replace(epoch_report(1), evidence=EVIDENCE))
    assert isinstance(told, EpochReport)
    assert told.evidence is not None
    assert told.evidence.holdout is not None
    assert np.array_equal(told.evidence.validation, EVIDENCE.validation)
    assert np.array_equal(told.evidence.holdout, EVIDENCE.holdout)


@pytest.mark.parametrize(
    "message",
    [
        *(Outcome(kind) for kind in ("ended", "infeasible", "failed", "killed")),
        Outcome("failed", "DataError: a/b.jpg: 'x' / \"y\"\tü"),
        Outcome("out_of_memory", "no room", stage=1, oom_record={"place": {"device": "CPU"}, "photos": 4}),
        Fallback(epoch=2, stage=1),
        Notice(20, "node: built\tü"),
        Result('{"accuracy": 0.5}'),
    ],
    ids=str,
)
def test_every_message_survives_tunes_flattening(message: Message) -> None:
    assert over_tune(message) == message


def test_a_result_of_tunes_own_is_no_message() -> None:
    assert from_wire({"training_iteration": 1}) is None
    assert from_wire({}) is None


def test_a_segment_survives_json() -> None:
    segment = Segment(
        study="/results/tiny",
        number=3,
        attempt=2,
        config={"backbone": "MobileNet", "stages": [{"name": "head"}]},
        resume="attempt-1/epoch-0004.npz",
        stop_after_stage=1,
        data_root="/data",
        view_seed=7,
        store={"root": None},
        threads=2,
        gpu_share=0.5,
        deterministic=True,
        deadline={"epoch_factor": 10.0},
    )
    assert Segment(**json.loads(json.dumps(segment.to_json()))) == segment
