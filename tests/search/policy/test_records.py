import json
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from carcls.events import PhaseSeconds
from search.policy.records import TrialRecord, TrialState, report_attribute, searched, trained_s
from tests.helpers.search.policy_builders import report, trial


def test_best_is_over_all_stages_and_prefers_earlier_epochs():
    record = trial(1, TrialState.RUNNING, [0.25, 0.75], [0.5], [0.75])
    assert (record.best.epoch, record.best_rank, record.fidelity) == (2, (0.75, -1.0), 4)
    assert [record.rung_rank(stage) for stage in range(4)] == [(0.75, -1.0), (0.5, -1.0), (0.75, -1.0), None]


def test_log_loss_breaks_ties():
    record = trial(1, TrialState.RUNNING, reports=(report(1, 0.5, log_loss=2.0), report(2, 0.5, log_loss=1.0)))
    assert record.best.epoch == 2


def test_without_a_finite_epoch_there_is_no_value():
    for accuracy, log_loss in ((math.nan, 1.0), (0.5, math.nan), (0.5, math.inf)):
        record = trial(1, TrialState.PAUSED, reports=(report(1, accuracy, log_loss=log_loss),))
        assert (record.best, record.best_rank, record.rung_rank(0), record.rung) == (None, None, None, 0)


def test_next_stage():
    fresh = trial(1, TrialState.WAITING)
    middle = replace(fresh, reports=(report(1, 0.5, ended=True), report(2, 0.5, stage=1, ended=False)))
    over = trial(1, TrialState.COMPLETE, [0.5], [0.5], [0.5])
    assert [(record.rung, record.next_stage) for record in (fresh, middle, over)] == [(None, 0), (0, 1), (2, None)]
    assert [middle.has_ended(stage) for stage in range(2)] == [True, False]


scores = st.floats(0.0, 1.0)


@given(
    st.lists(st.lists(scores, min_size=1, max_size=3), max_size=3),
    st.sampled_from(TrialState),
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()),
    st.lists(st.integers(0, 9)),
)
def test_a_record_survives_json(curves, state: TrialState, params, deaths: list[int]):
    changes = {"params": params, "deaths": tuple(deaths), "cause": "a, b\n", "run_to_end_at": 3, "stop_after_stage": 1}
    record = trial(4, state, *curves, **changes)
    stored: dict[str, object] = {
        "params": params,
        "stage_count": record.stage_count,
        "is_baseline": record.is_baseline,
        "status": record.status(),
        **{report_attribute(one.epoch): one.to_json() for one in record.reports},
        "config": {"something": "else"},
    }
    assert TrialRecord.from_attributes(4, json.loads(json.dumps(stored))) == record, "a study from before the finals"
    repeat = TrialRecord.from_attributes(4, json.loads(json.dumps({**stored, "repeats": 2})))
    assert repeat == replace(record, repeats=2)
    assert searched([repeat, record]) == [record]


def test_trained_seconds_count_building_training_and_validating():
    seconds = PhaseSeconds(train=3.0, validate=0.5, build=0.25)
    assert trained_s([replace(report(1, 0.5), seconds=seconds), replace(report(2, 0.5), seconds=seconds)]) == 7.5
    assert trained_s([]) == 0
