"""Events as objects and as JSON."""

import json
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.policy.records import TrialState
from search.progress.json_lines import EventProgress, json_text
from search.progress.search_events import Event, changes, events
from search.progress.summary import Spent
from tests.helpers import ROOT
from tests.helpers.search.final_script import records
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran
from tests.helpers.search.trial_builders import climb, trial

SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "events.schema.json").read_text(encoding="utf-8")))


def test_every_event_of_a_scripted_search_fits_the_schema():
    told: list[Event] = []
    with EventProgress("cars", told.append, lambda: "2026-01-01T00:00:00+00:00") as progress:
        progress.update(records()[:3], Spent())
        progress.update(records(), Spent())
    lines = [json.loads(json_text(event)) for event in told]
    for line in lines:
        SCHEMA.validate(line)
    assert {line["kind"] for line in lines} == {
        "search_started", "started", "epoch", "stage_ended", "paused", "complete", "failed", "search_ended",
    }  # fmt: skip
    assert lines[0] == {
        "kind": "search_started",
        "study": "cars",
        "time": "2026-01-01T00:00:00+00:00",
        "trials_ended": 0,
    }
    assert lines[-1]["best_trial"] == 2
    assert lines[-1]["accuracy"] == 0.875
    epochs = [line["epoch"] for line in lines if line["kind"] == "epoch" and line["trial"] == 2]
    assert epochs == [1, 2, 3]


def test_what_is_known_is_no_news():
    known = trial(1, TrialState.PAUSED, climb([0.5]))
    promoted = replace(known, state=TrialState.RUNNING, attempts=2, stop_after_stage=1)
    assert [event.kind for event in events((known,), (promoted,))] == ["promoted"]
    assert list(events((known,), (known,))) == []


@given(st.lists(st.sampled_from(["kept", "replaced", "gone", "new"]), max_size=12))
def test_each_replaced_record_comes_with_the_one_before_it(fates):
    before, after = [], []
    for number, fate in enumerate(fates):
        record = trial(number, TrialState.WAITING)
        before += [record] * (fate != "new")
        after += [record if fate == "kept" else replace(record)] * (fate != "gone")
    known = {record.number: record for record in before}
    expected = [
        (known.get(record.number), record)
        for at, record in enumerate(after)
        if at >= len(before) or before[at] is not record
    ]
    found = changes(before, after)
    assert [(id(old), id(new)) for old, new in found] == [(id(old), id(new)) for old, new in expected]


def test_an_interruption_says_why():
    running = trial(1, TrialState.RUNNING, climb([0.5]))
    [event] = events((running,), (replace(running, state=TrialState.WAITING, cause="its node\nwas lost"),))
    assert (event.kind, event.cause, event.epoch) == ("interrupted", "its node was lost", 1)


def test_nan_is_null_in_json():
    event = Event("epoch", "cars", "now", log_loss=float("nan"))
    assert json.loads(json_text(event)) == {"kind": "epoch", "study": "cars", "time": "now", "log_loss": None}


def test_json_of_a_real_search_is_nothing_but_events(finished: Ran, tmp_path):
    """Of a finished one, which a resume only reports."""
    done = run_cli("resume", str(finished.folder.root), "--json", cwd=finished.cwd)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    for line in lines:
        SCHEMA.validate(line)
    assert [line["text"] for line in lines if line["kind"] == "message"][1].startswith("report: ")
    assert run_cli("resume", str(finished.folder.root), "--quiet", cwd=finished.cwd).stdout == ""


def test_quiet_and_json_exclude_each_other(tmp_path):
    done = run_cli("resume", "nowhere", "--json", "--quiet", cwd=tmp_path)
    assert done.returncode == 2
    assert "--quiet or --json" in done.stderr


def test_the_schema_refuses_what_is_no_event():
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate({"kind": "unheard", "study": "cars", "time": "now"})
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate({"kind": "epoch"})
