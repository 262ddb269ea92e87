"""Tune's calls in its own order, including lost trials."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from carcls.errors import DiskFullError
from carcls.events import EpochReport
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.tune_adapters import NOT_BEGUN, tune_adapters
from search.worker.segment import Fallback, Granted, Notice, Outcome, Parked, Placed, Segment, to_wire
from tests.helpers.search.trial_builders import epoch_report

SEGMENT = Segment("/study", 0, 0, {}, None, 0, "/data", 0, {}, 1, None, True)


@dataclass
class Heard:
    """A dispatcher with endless segments that records their outcomes."""

    handed_out: int = 0
    stopping: str | None = None
    out_of_time: frozenset[int] = frozenset()
    refusal: Exception | None = None
    ended: list[tuple[int, Outcome]] = field(default_factory=list)
    reported: list[tuple[int, int]] = field(default_factory=list)
    fallbacks: list[tuple[int, int]] = field(default_factory=list)
    places: list[tuple[int, str, str]] = field(default_factory=list)
    grants: list[tuple[int, str]] = field(default_factory=list)

    def next_segment(self) -> Segment | str:
        if self.stopping:
            return "finished"
        self.handed_out += 1
        return Segment(**{**SEGMENT.to_json(), "number": self.handed_out - 1})

    def report(self, number: int, report: EpochReport) -> None:
        self.reported.append((number, report.epoch))

    def placed(self, number: int, node_id: str, name: str) -> None:
        self.places.append((number, node_id, name))

    def granted(self, number: int, gpus: str) -> None:
        self.grants.append((number, gpus))

    def fell_back(self, number: int, epoch: int) -> None:
        self.fallbacks.append((number, epoch))

    def is_out_of_time(self, number: int) -> bool:
        return number in self.out_of_time

    def segment_ended(self, number: int, outcome: Outcome) -> None:
        if self.refusal:
            raise self.refusal
        self.ended.append((number, outcome))


@dataclass
class Told:
    """A cluster whose answers a test sets."""

    avoid: tuple[str, ...] = ()
    leaving: frozenset[int] = frozenset()
    on_purpose: bool | None = False

    def take_over(self) -> None:
        pass

    def avoided(self, segment: Segment) -> tuple[str, ...]:
        return self.avoid

    def is_stranded(self, avoided: list[str]) -> bool:
        return set(avoided) >= {"only"}

    def why_leave(self, number: int) -> str | None:
        return "its node is leaving" if number in self.leaving else None

    def lost(self, number: int, actor: object, outcome: Outcome, *, waited_s: float) -> Outcome | None:
        if self.on_purpose is None and waited_s < 5.0:
            return None
        return Outcome("preempted", outcome.cause) if self.on_purpose else outcome


class Tune:
    """Searcher and scheduler, called as Tune's controller does it."""

    def __init__(self, *, concurrent: int = 2) -> None:
        self.heard = Heard()
        self.places = Told()
        self.now_s = 100.0
        self.hands_over = False
        self.searcher, self.scheduler = tune_adapters(
            self.heard,
            concurrent=lambda: concurrent,
            deadline=DeadlineSettings(),
            hands_over=lambda: self.hands_over,
            places=self.places,
            clock_s=lambda: self.now_s,
        )
        self.controller = SimpleNamespace(get_trials=list)

    def start(self, trial_id: str) -> SimpleNamespace:
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict)
        state = SimpleNamespace(ray_actor=None)
        trial = SimpleNamespace(
            trial_id=trial_id, config=config, status=Trial.PENDING, temporary_state=state, error=None
        )
        trial.get_error = lambda: trial.error
        self.scheduler.on_trial_add(self.controller, trial)
        trial.status = Trial.RUNNING
        return trial

    def result(self, trial: SimpleNamespace, message: dict) -> str:
        return self.scheduler.on_trial_result(self.controller, trial, message)

    def end(self, trial: SimpleNamespace, message: dict) -> None:
        self.result(trial, message)
        self.searcher.on_trial_complete(trial.trial_id, message)
        trial.status = Trial.TERMINATED

    def error(self, trial: SimpleNamespace, error: Exception) -> None:
        trial.error = error
        self.scheduler.on_trial_error(self.controller, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)
        trial.status = Trial.ERROR


def test_no_more_segments_than_places_and_each_ends_once() -> None:
    tune = Tune(concurrent=2)
    first = tune.start("a")
    tune.start("b")
    assert tune.searcher.suggest("c") is None
    assert tune.result(first, to_wire(epoch_report(1))) == TrialScheduler.CONTINUE
    tune.end(first, to_wire(Outcome("ended")))
    tune.start("c")
    assert tune.heard.reported == [(0, 1)]
    assert tune.heard.ended == [(0, Outcome("ended"))]


def test_a_fallback_is_reported_before_later_epochs() -> None:
    tune = Tune()
    trial = tune.start("a")
    assert tune.result(trial, to_wire(Fallback(epoch=1, stage=0))) == TrialScheduler.CONTINUE
    assert (tune.heard.fallbacks, tune.heard.reported) == ([(0, 1)], [])


def test_a_lost_worker_is_reported_in_rays_words() -> None:
    tune = Tune()
    tune.error(tune.start("a"), RuntimeError("a long story\nThe actor died."))
    assert tune.heard.ended == [(0, Outcome("killed", "The actor died."))]


@pytest.mark.parametrize(("on_purpose", "kind"), [(True, "preempted"), (False, "killed"), (None, "killed")])
def test_a_loss_waits_for_its_reason_without_holding_up_reports(*, on_purpose: bool | None, kind: str) -> None:
    tune = Tune(concurrent=2)
    lost, other = tune.start("a"), tune.start("b")
    tune.places.on_purpose = None
    tune.error(lost, RuntimeError("The actor died."))
    assert tune.result(other, to_wire(epoch_report(1))) == TrialScheduler.CONTINUE
    assert tune.heard.ended == []
    assert tune.searcher.suggest("c") is None, "its slot is taken as long as it may not be handed out"

    tune.places.on_purpose = on_purpose
    tune.now_s += 6.0 if on_purpose is None else 0.1
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert tune.heard.ended == [(0, Outcome(kind, "The actor died."))]
    tune.start("c")
    assert len(tune.heard.ended) == 1


def test_asked_to_end_a_waiting_segment_is_given_back_and_a_running_one_may_save() -> None:
    tune, stopped = Tune(), []
    tune.controller.request_stop_trial = stopped.append
    running, waiting = tune.start("a"), tune.start("b")
    waiting.status = Trial.PENDING
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert stopped == []
    tune.hands_over = True
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert stopped == [waiting]
    tune.searcher.on_trial_complete("b", {})
    tune.end(running, to_wire(Outcome("preempted", "saved")))
    assert tune.heard.ended == [(1, NOT_BEGUN), (0, Outcome("preempted", "saved"))]


def test_a_segment_whose_nodes_have_left_before_it_began_is_handed_out_again() -> None:
    tune, stopped = Tune(concurrent=1), []
    tune.controller.request_stop_trial = stopped.append
    tune.places.avoid = ("only",)
    trial = tune.start("a")
    trial.status = Trial.PENDING
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert stopped == [trial]
    tune.searcher.on_trial_complete("a")  # as Tune does for a trial that it stops
    assert [(number, outcome.kind) for number, outcome in tune.heard.ended] == [(0, "preempted")]
    tune.places.avoid = ()
    other = tune.start("b")
    other.status = Trial.PENDING
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert stopped == [trial]


@pytest.mark.parametrize("status", [Trial.ERROR, Trial.TERMINATED])
def test_a_trial_that_tune_ended_silently_frees_its_slot(status: str) -> None:
    tune = Tune(concurrent=1)
    lost = tune.start("a")
    assert tune.searcher.suggest("b") is None
    lost.status = status
    tune.start("b")
    assert tune.heard.ended == [(0, Outcome("killed", "the worker or its node was lost"))]
    tune.searcher.on_trial_complete("a", error=True)
    assert len(tune.heard.ended) == 1, "told later after all, it is not counted again"


def test_when_the_search_stops_trials_end_with_their_epoch_silently() -> None:
    tune = Tune(concurrent=2)
    trial, other = tune.start("a"), tune.start("b")
    tune.heard.stopping = "interrupted"
    assert tune.searcher.suggest("c") == Searcher.FINISHED
    assert tune.result(trial, to_wire(Notice(20, "built"))) == TrialScheduler.CONTINUE, "no epoch has ended"
    assert tune.result(trial, to_wire(epoch_report(3))) == TrialScheduler.STOP
    tune.searcher.on_trial_complete("a", to_wire(epoch_report(3)))
    tune.end(other, to_wire(Outcome("ended")))
    assert tune.heard.reported == [(0, 3)], "recorded before it is stopped"
    assert tune.heard.ended == [(1, Outcome("ended"))], "what had reached its rung has ended as ever"


def test_an_end_that_could_not_be_recorded_ends_the_search() -> None:
    tune = Tune(concurrent=1)
    trial = tune.start("a")
    tune.heard.refusal = DiskFullError("study.log: no room left on its disk")
    tune.end(trial, to_wire(Outcome("ended")))  # raised here, Tune would print it and go on
    tune.heard.refusal = None  # there is room again: what was not recorded would be waited for
    with pytest.raises(DiskFullError, match="no room left on its disk"):
        tune.searcher.suggest("b")
    with pytest.raises(DiskFullError, match="no room left on its disk"):
        tune.scheduler.choose_trial_to_run(tune.controller)
    assert tune.heard.handed_out == 1


def test_whose_time_is_up_ends_with_its_epoch_and_the_others_go_on() -> None:
    tune = Tune(concurrent=2)
    baseline, other = tune.start("a"), tune.start("b")
    tune.heard.out_of_time = frozenset({1})
    assert tune.result(other, to_wire(Notice(20, "built"))) == TrialScheduler.CONTINUE, "no epoch has ended"
    assert tune.result(baseline, to_wire(epoch_report(2))) == TrialScheduler.CONTINUE
    assert tune.result(other, to_wire(epoch_report(3))) == TrialScheduler.STOP
    tune.searcher.on_trial_complete("b", to_wire(epoch_report(3)))
    assert tune.heard.reported == [(0, 2), (1, 3)], "recorded before it is stopped"
    assert tune.heard.ended == [(1, Outcome("out_of_time"))]
    tune.start("c")


def test_a_trial_on_a_leaving_node_moves_on_after_its_epoch() -> None:
    tune = Tune(concurrent=2)
    trial = tune.start("a")
    tune.places.leaving = frozenset({0})
    assert tune.result(trial, to_wire(Notice(20, "built"))) == TrialScheduler.CONTINUE, "no epoch has ended"
    assert tune.result(trial, to_wire(epoch_report(3))) == TrialScheduler.STOP
    tune.searcher.on_trial_complete("a", to_wire(epoch_report(3)))
    assert tune.heard.reported == [(0, 3)], "recorded before it is stopped"
    assert tune.heard.ended == [(0, Outcome("preempted", "its node is leaving"))]


def test_a_worker_lost_with_a_node_that_was_told_to_leave_has_not_died() -> None:
    tune = Tune()
    tune.places.on_purpose = True
    tune.error(tune.start("a"), RuntimeError("The actor died."))
    assert tune.heard.ended == [(0, Outcome("preempted", "The actor died."))]


def test_each_segment_carries_the_nodes_to_avoid_at_its_time() -> None:
    tune = Tune(concurrent=3)
    assert tune.start("a").config["avoid"] == []
    tune.places.avoid = ("b",)
    assert tune.start("b").config["avoid"] == ["b"]


def test_a_node_without_carsearch_is_told_from_a_death() -> None:
    tune = Tune()
    tune.error(
        tune.start("a"), RuntimeError("the actor failed to import:\nModuleNotFoundError: No module named 'search'")
    )
    assert tune.heard.ended == [(0, Outcome("unable", "ModuleNotFoundError: No module named 'search'"))]


def test_a_placed_segment_is_recorded() -> None:
    tune = Tune()
    assert tune.result(tune.start("a"), to_wire(Placed("id", "node-a"))) == TrialScheduler.CONTINUE
    assert tune.heard.places == [(0, "id", "node-a")]


def test_a_worker_that_is_stuck_with_its_child_is_killed_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    tune = Tune()
    killed: list[object] = []
    monkeypatch.setattr("search.on_ray.tune_adapters.ray.kill", killed.append)
    now = [0.0]
    trial = tune.start("a")
    trial.temporary_state.ray_actor = "the actor"
    tune.scheduler._segments.deadlines["a"] = _deadline(now)
    for _ in range(2 * 120 * 60 + 50):
        now[0] += 1.0
        tune.scheduler.choose_trial_to_run(tune.controller)
    now[0] += 8 * 3600  # the driver lay still, while its actors may have worked on
    tune.scheduler.choose_trial_to_run(tune.controller)
    now[0] += 4.0
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert killed == []
    now[0] += 2
    tune.scheduler.choose_trial_to_run(tune.controller)
    tune.scheduler.choose_trial_to_run(tune.controller)
    assert killed == ["the actor"], "once"
    tune.error(trial, RuntimeError("The actor was killed by ray.kill"))
    ((number, outcome),) = tune.heard.ended
    assert (number, outcome.kind) == (0, "killed")
    assert "no report within 14460 s" in (outcome.cause or "")


def _deadline(now: list[float]):
    from search.worker.deadlines import Deadline, driver_timeout_s

    return Deadline(DeadlineSettings(), timeout_s=driver_timeout_s, clock_s=lambda: now[0])


def test_a_parked_worker_gives_its_segment_back_and_keeps_its_gpu_until_the_run_is_over() -> None:
    tune = Tune(concurrent=2)
    parked, other = tune.start("a"), tune.start("b")
    assert tune.result(other, to_wire(Granted("GPU 0 of here"))) == TrialScheduler.CONTINUE
    assert tune.heard.grants == [(1, "GPU 0 of here")]
    for _ in range(2):
        assert tune.result(parked, to_wire(Parked("GPU 1 of here"))) == TrialScheduler.CONTINUE
    assert tune.heard.ended == [(0, Outcome("preempted", "GPU 1 of here gets no more trials"))], "once"
    assert tune.searcher.suggest("c") is None, "its place is taken"
    tune.end(other, to_wire(Outcome("ended")))
    tune.start("c")
    tune.heard.stopping = "the user interrupted it"
    assert tune.searcher.suggest("d") == Searcher.FINISHED
    assert tune.result(parked, to_wire(Parked("GPU 1 of here"))) == TrialScheduler.STOP
    tune.searcher.on_trial_complete("a", to_wire(Parked("GPU 1 of here")))
    assert len(tune.heard.ended) == 2, "a parked worker has no outcome"
