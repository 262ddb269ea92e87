"""What a user asks of a search: recorded once, followed by every decision after it, and kept by a resume."""

import json

import pytest

from search.driver.steering import Steering, ask, new_trial, promotion, take_requests
from search.errors import ExperimentError, StudyError
from search.policy.records import STOPPED, TrialState
from search.study.requests import Add, Promote, Stop, read_request, waiting_requests, write_request
from search.study.study import Study
from search.worker.segment import LOST
from tests.helpers.search.dispatch_desk import ACCURACIES, Desk, finish

DROPOUT, RATE = "train.head.dropout", "train.stages.head.learning_rate"


def three_paused_at_most(desk: Desk) -> None:
    """Trials 0 to 2 as in `test_a_whole_search_follows_the_ladder`, before trial 2 is promoted."""
    for _ in range(4):
        segment = desk.take()
        desk.work(segment, accuracy=ACCURACIES[segment.number])


def test_a_paused_trial_is_stopped_at_once_and_never_promoted(open_desk) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    write_request(desk.folder, Stop(2))
    desk.listening.heard.clear()
    segment = desk.take()
    assert desk.listening.heard[0] == ("ended", 2), "listeners are told"
    record = desk.study.record(2)
    assert (record.state, record.cause, record.fidelity) == (TrialState.PRUNED, STOPPED, 2)
    assert (segment.number, segment.resume) == (3, None), "not trial 2, although it is the best of three"
    assert list(waiting_requests(desk.folder)) == []
    desk.work(segment, accuracy=0.3)
    finish(desk, ACCURACIES)
    assert desk.state(2) is TrialState.PRUNED


def test_a_running_trial_is_stopped_after_its_epoch(open_desk) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    segment = desk.take()
    assert segment.number == 2
    write_request(desk.folder, Stop(2))
    assert desk.state(2) is TrialState.RUNNING
    assert not desk.study.record(2).stop_asked
    assert desk.dispatcher.is_out_of_time(2)
    assert desk.study.record(2).stop_asked


def test_a_trial_that_dies_while_it_is_stopped_is_not_started_again(open_desk) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    desk.take()
    write_request(desk.folder, Stop(2))
    assert desk.dispatcher.is_out_of_time(2)
    desk.dispatcher.segment_ended(2, LOST)
    assert desk.state(2) is TrialState.WAITING
    assert desk.take().number == 3
    assert desk.state(2) is TrialState.PRUNED


def test_a_resumed_search_stops_what_its_killed_driver_was_asked_to_stop(open_desk) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    desk.take()
    write_request(desk.folder, Stop(2))
    assert desk.dispatcher.is_out_of_time(2)
    resumed = open_desk()
    assert resumed.study.record(2).stop_asked
    resumed.study.interrupt_running()
    assert resumed.take().number == 3
    assert resumed.state(2) is TrialState.PRUNED


def test_a_promoted_trial_goes_on_although_others_are_better(open_desk) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    request = promotion(desk.study.record(1))
    assert request == Promote(trial=1, stage=1)
    write_request(desk.folder, request)
    segment = desk.take()
    assert (segment.number, segment.stop_after_stage) == (1, 1), "the worst of three"
    desk.work(segment, accuracy=0.2)
    assert desk.state(1) is TrialState.COMPLETE


def test_a_promotion_of_a_running_trial_waits_for_its_rung(open_desk) -> None:
    desk = open_desk()
    for _ in range(2):
        desk.work(desk.take())
    running = desk.take()
    assert (running.number, running.stop_after_stage) == (1, 0)
    write_request(desk.folder, promotion(desk.study.record(1)))
    assert not desk.dispatcher.is_out_of_time(1)
    desk.work(running, accuracy=0.1)
    following = desk.take()
    assert (following.number, following.stop_after_stage) == (1, 1)


def test_an_added_trial_is_trained_next_and_leaves_the_other_proposals_as_they_are(open_desk, tmp_path) -> None:
    desk = open_desk("search.sampler=random")
    desk.work(desk.take())
    request = new_trial(desk.experiment, desk.experiment.baseline, {"head.dropout": 0.125})
    write_request(desk.folder, request)
    segment = desk.take()
    record = desk.study.record(1)
    assert (segment.number, record.params[DROPOUT], segment.config["head"]["dropout"]) == (1, 0.125, 0.125)
    assert not record.is_baseline
    desk.work(segment)
    finish(desk, {})
    proposed = [one.params for one in desk.study.records() if one.request is None and not one.is_baseline]
    assert len(desk.study.records()) == 4, "it counts as one of search.trials"
    policy = desk.dispatcher._policy
    first = [one for one in desk.study.records() if one.number == 0]
    assert policy.propose(first).params == proposed[0]


def test_an_added_trial_may_have_a_size_as_the_file_writes_it(open_desk) -> None:
    desk = open_desk("train.image_size={choice: [[48, 64], 32]}")
    experiment = desk.experiment
    request = new_trial(experiment, experiment.baseline, {"image_size": [48, 64]})
    assert request.params["train.image_size"] == "48x64"
    assert experiment.bind(request.params).image_size == (48, 64)
    with pytest.raises(ExperimentError, match=r"train.image_size: '64x48' is outside choice \[48x64, 32\]"):
        new_trial(experiment, experiment.baseline, {"image_size": [64, 48]})


def test_a_request_that_was_recorded_before_a_kill_is_not_recorded_again(open_desk) -> None:
    desk = open_desk()
    desk.work(desk.take())
    path = write_request(desk.folder, new_trial(desk.experiment, desk.experiment.baseline, {DROPOUT: 0.25}))
    content = path.read_bytes()
    assert take_requests(desk.study, desk.folder, desk.experiment) == (1,)
    assert not path.exists()
    path.write_bytes(content)
    assert take_requests(desk.study, desk.folder, desk.experiment) == (1,)
    assert len(desk.study.records()) == 2


def test_nothing_is_taken_before_the_baseline(open_desk) -> None:
    desk = open_desk()
    path = write_request(desk.folder, Add(dict(desk.experiment.baseline)))
    assert desk.take().number == 0
    assert desk.study.record(0).is_baseline
    assert path.exists()
    desk.dispatcher.is_out_of_time(0)
    assert not path.exists()
    assert desk.study.record(1).request == path.stem


def test_what_a_search_cannot_follow_is_refused_or_dropped(open_desk, caplog) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    experiment = desk.experiment
    with pytest.raises(StudyError, match="trial 0 is the baseline"):
        ask(desk.folder, experiment, Stop(0))
    with pytest.raises(StudyError, match="no trial 9"):
        ask(desk.folder, experiment, Stop(9))
    with pytest.raises(StudyError, match="trial 1 has no stage 5: expected 0 to 1"):
        ask(desk.folder, experiment, Promote(1, 5))
    with pytest.raises(StudyError, match="trial 0 has ended already: it is complete"):
        ask(desk.folder, experiment, Promote(0, 1))
    with pytest.raises(ExperimentError, match=r"train.head.dropout: 0.9 is outside uniform \[0, 0.5\]"):
        new_trial(experiment, experiment.baseline, {"head.dropout": 0.9})
    with pytest.raises(ExperimentError, match=r"batch_size: is not searched in this study; searched are train"):
        new_trial(experiment, experiment.baseline, {"batch_size": 4})
    for text in ("{", "[]", '{"kind": "stop", "trial": "1"}', '{"kind": "rm", "trial": 1}', '{"kind": "stop", "x": 1}'):
        desk.folder.requests.mkdir(exist_ok=True)
        (desk.folder.requests / "1.json").write_text(text, encoding="utf-8")
        before = desk.study.records()
        assert take_requests(desk.study, desk.folder, experiment) == ()
        assert desk.study.records() == before
        assert "a request is dropped" in caplog.text
        assert list(waiting_requests(desk.folder)) == []
        caplog.clear()


def test_requests_survive_writing_and_reading(open_desk) -> None:
    desk = open_desk()
    for request in (Stop(3), Promote(2, 1), Add({DROPOUT: 0.1, "train.backbone": "small", "x": None, "y": True})):
        assert read_request(write_request(desk.folder, request)) == request


def test_without_a_driver_a_request_is_recorded_at_once_and_continues_a_finished_search(open_desk) -> None:
    desk = open_desk()
    finish(desk, ACCURACIES)
    desk.study.finish()
    desk.study.close()
    request = new_trial(desk.experiment, desk.study.record(2).params, {RATE: 0.002})
    assert ask(desk.folder, desk.experiment, request) == 4
    study = Study.open(desk.folder.root, read_only=True)
    assert not study.is_finished
    assert study.record(4).params == {**study.record(2).params, RATE: 0.002}
    resumed = open_desk()
    assert resumed.take().number == 4


def test_a_running_driver_is_left_a_file(open_desk) -> None:
    desk = open_desk()
    three_paused_at_most(desk)
    log = desk.folder.log.read_bytes()
    assert ask(desk.folder, desk.experiment, Stop(2)) is None
    assert desk.folder.log.read_bytes() == log
    assert take_requests(desk.study, desk.folder, desk.experiment) == (2,)
    assert Steering(desk.study, desk.folder, desk.experiment).take() == ()


def test_the_journal_of_a_search_without_requests_says_nothing_of_them(open_desk) -> None:
    desk = open_desk()
    finish(desk, ACCURACIES)
    text = desk.folder.log.read_text(encoding="utf-8")
    assert not any(word in text for word in ("stop_asked", "promoted_to", '"request"'))
    assert json.loads(text.splitlines()[0])


def test_promotions_go_one_rung_further_each_time(open_desk) -> None:
    desk = open_desk()
    desk.take()
    assert promotion(desk.study.record(0)) == Promote(0, 1)
    desk.study.ask_promotion(0, 1)
    with pytest.raises(StudyError, match="trial 0 goes to its last stage already"):
        promotion(desk.study.record(0))
    three = open_desk()
    with pytest.raises(StudyError, match="no trial 1"):
        promotion(three.study.record(1))
