import pytest

from benchmarks.events import EventLog, all_phases, phases


def event(what: str, at: float, **details):
    return {"entry": 0, "what": what, "at": at, **details}


def test_every_second_of_a_training_has_one_phase():
    found = phases(
        [
            event("decided", 10.0),
            event("fit", 22.0, batches=[[12.0, 17.0], [17.0, 18.0], [18.0, 19.0], [19.0, 20.5]], validate_s=1.0),
            event("fit", 26.0, batches=[[23.0, 25.0], [25.0, 25.5]], validate_s=0.25),
            event("ended", 30.0),
        ]
    )
    assert found.start == 2.0
    assert found.first_step == 7.0
    assert found.steps == 4 * 1.0 + 2 * 0.5
    assert found.trace == 4.0 + 1.5
    assert found.wait == 0.5
    assert found.validate == 1.25
    assert found.total == 20.0
    assert found.other == pytest.approx(20.0 - 2.0 - 5.0 - 5.5 - 0.5 - 1.25)


@pytest.mark.parametrize("missing", ["decided", "fit", "ended"])
def test_a_training_that_failed_is_told(missing):
    events = [event("decided", 1.0), event("fit", 3.0, batches=[[1.5, 2.0]], validate_s=0.0), event("ended", 4.0)]
    with pytest.raises(ValueError, match="the training failed"):
        phases([one for one in events if one["what"] != missing])


def test_events_of_several_writers_come_back_by_entry_in_order_of_time(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.note(1, "decided")
    EventLog(log.path).note(0, "decided", why="first in the list")
    log.note(1, "ended")
    found = log.by_entry()
    assert list(found) == [0, 1]
    assert found[0][0]["why"] == "first in the list"
    assert [event["what"] for event in found[1]] == ["decided", "ended"]
    with pytest.raises(ValueError, match="entry 0: expected `decided`, `fit` and `ended`"):
        all_phases(log)
