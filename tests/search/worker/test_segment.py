"""Messages between driver and worker arrive unchanged, although Tune flattens nested results."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.utils import flatten_dict

from search.worker.segment import Outcome, Segment, outcome_message, read_outcome, read_report, report_message
from tests.helpers.search.trial_builders import epoch_report

accuracies = st.floats(0, 1)


@settings(max_examples=25, deadline=None)
@given(epoch=st.integers(1, 9999), accuracy=accuracies, notes=st.lists(st.text(max_size=20), max_size=3))
def test_a_report_survives_tunes_flattening(epoch: int, accuracy: float, notes: list[str]) -> None:
    report = replace(epoch_report(epoch, accuracy=accuracy), notes=tuple(notes))
    assert read_report(flatten_dict(report_message(report))) == report


def test_a_report_of_nan_is_still_a_report() -> None:
    told = read_report(flatten_dict(report_message(replace(epoch_report(1), val_log_loss=float("nan")))))
    assert told is not None
    assert told.val_log_loss != told.val_log_loss
    assert told.epoch == 1


@pytest.mark.parametrize("kind", ["ended", "infeasible", "failed", "killed"])
@pytest.mark.parametrize("cause", [None, "DataError: a/b.jpg: 'x' / \"y\"\tü"])
def test_an_outcome_survives_tunes_flattening(kind: str, cause: str | None) -> None:
    outcome = Outcome(kind, cause)
    assert read_outcome(flatten_dict(outcome_message(outcome))) == outcome


def test_each_message_is_taken_for_nothing_else() -> None:
    assert read_report(outcome_message(Outcome("ended"))) is None
    assert read_outcome(report_message(epoch_report(1))) is None
    assert read_report({"training_iteration": 1}) is None
    assert read_outcome({"training_iteration": 1}) is None


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
