"""What every executor does for a dispatcher over a real study.

This machine's processes and Ray's run a child that does what a script says; the simulator's virtual workers have curves
and faults that say the same."""

import errno
import json
import os
import platform
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from carcls.errors import DiskFullError
from carcls.scoring.evidence import Evidence
from search.driver.executor import Executor
from search.driver.interrupts import INTERRUPTED, Interrupts
from search.driver.local_executor import LocalExecutor
from search.driver.nodes.slots import Slots
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.cluster.nodes import ResourcePlan
from search.policy.records import STOPPED, TrialState
from search.simulator.curves import Curve, CurvePoint
from search.simulator.faults import FaultEvent
from search.simulator.virtual_clock import VirtualClock
from search.simulator.virtual_executor import VirtualExecutor
from search.study.requests import Stop, write_request
from search.worker.segment import Segment
from tests.helpers.search.dispatch_desk import Desk
from tests.helpers.search.processes import is_alive, wait_until
from tests.helpers.search.scripted import (
    EVIDENCE,
    SAVED,
    SCRIPT,
    Script,
    scripted_child,
    scripted_segment,
    write_script,
)

pytestmark = pytest.mark.timeout(1500)
TO_THE_END = ("search.scheduler={kind: none}", "search.trials=2", "train.head={batch_norm: false, dropout: 0.0}")

MakeExecutor = Callable[[Desk, Interrupts], Executor]


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    from search.on_ray.connection import connected

    with connected(None):
        yield


PROCESSES = ["local", pytest.param("ray", marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Deaths:
    """The faults of a script: a worker dies after `epoch` epochs, in the middle of the next one."""

    script: Script

    def event(self, *, seed: int, number: int, attempt: int) -> FaultEvent | None:
        steps = self.script.get(f"{number}/{attempt}", ())
        return FaultEvent(steps.count("epoch") + 0.5, 0.0) if "die" in steps else None

    def out_of_memory(self, params: object, stage: int) -> bool:
        return False


def scripted_curve(segment: Segment) -> Curve:
    """The epochs that a scripted child reports, one second each."""
    points = [
        CurvePoint(stage, ended, 0.5, 0.5, 0.5, 0.5, seconds=1.0) for stage, ended in ((0, False), (0, True), (1, True))
    ]
    return Curve({}, seed=0, stage_count=2, points=tuple(points))


@pytest.fixture(params=PROCESSES)
def make_executor(request: pytest.FixtureRequest) -> MakeExecutor:
    """Two concurrent segments, each in its own process."""
    return _process_executor(request, request.param)


@pytest.fixture(params=[*PROCESSES, "virtual"])
def make_any_executor(request: pytest.FixtureRequest) -> MakeExecutor:
    """Two concurrent segments."""
    if request.param != "virtual":
        return _process_executor(request, request.param)
    return lambda desk, interrupts: VirtualExecutor(
        VirtualClock(),
        workers=2,
        curve_of=scripted_curve,
        faults=Deaths(json.loads((desk.folder.root / SCRIPT).read_text(encoding="utf-8"))),
    )


def _process_executor(request: pytest.FixtureRequest, name: str) -> MakeExecutor:
    if name == "local":
        return lambda desk, interrupts: LocalExecutor(
            Slots(threads=1, gpus=(None, None)), interrupts=interrupts, main=scripted_child
        )
    request.getfixturevalue("ray_cluster")
    from search.on_ray.ray_executor import RayExecutor

    return lambda desk, interrupts: RayExecutor(
        desk.folder,
        ResourcePlan(cpus=1, gpus=0.0, concurrent=2),
        deadline=DeadlineSettings(),
        interrupts=interrupts,
        how="call it again",
        trainable=scripted_segment,
    )


@pytest.fixture
def run(make_executor: MakeExecutor, open_desk):
    """Runs a scripted search of the tiny experiment in processes; returns its desk."""
    return _run(make_executor, open_desk)


@pytest.fixture
def run_any(make_any_executor: MakeExecutor, open_desk):
    """Does the same with any executor."""
    return _run(make_any_executor, open_desk)


def _run(make_executor: MakeExecutor, open_desk):
    def to_the_end(
        script: Script,
        *overrides: str,
        interrupts: Interrupts | None = None,
        on_epoch: Callable[[], None] = lambda: None,
        opened: list[Desk] | None = None,
    ) -> Desk:
        desk = open_desk(*TO_THE_END, *overrides)
        desk.listening.on_epoch = on_epoch
        (opened if opened is not None else []).append(desk)
        write_script(desk.folder.root, script)
        make_executor(desk, interrupts or Interrupts()).run(desk.dispatcher)
        return desk

    return to_the_end


def test_every_segment_is_trained_and_recorded_in_order(run_any) -> None:
    desk: Desk = run_any({})
    records = desk.study.records()
    assert [record.state for record in records] == [TrialState.COMPLETE] * 2
    assert desk.dispatcher.finished
    for record in records:
        assert [report.epoch for report in record.reports] == [1, 2, 3]
        heard = [what for what, number in desk.listening.heard if number == record.number]
        assert [what for what in heard if what.startswith("epoch")] == ["epoch 1", "epoch 2", "epoch 3"]
        assert (heard[0], heard[-1]) == ("started", "ended")


def test_a_segment_ends_at_its_rung(run_any) -> None:
    desk: Desk = run_any({}, "search.scheduler={kind: asha, reduction_factor: 3}", "search.trials=3")
    baseline, *others = desk.study.records()
    assert (baseline.state, baseline.attempts) == (TrialState.COMPLETE, 2), "one segment for each stage"
    assert sorted(record.state for record in others) == [TrialState.COMPLETE, TrialState.PAUSED]
    paused = next(record for record in others if record.state is TrialState.PAUSED)
    assert (paused.attempts, paused.fidelity) == (1, 2)


def test_a_dead_worker_loses_no_recorded_epoch(run_any) -> None:
    desk: Desk = run_any({"0/0": ["epoch", "die"]}, "search.trials=1")
    (record,) = desk.study.records()
    assert (record.state, record.deaths, record.attempts) == (TrialState.COMPLETE, (1,), 2)
    assert record.cause is not None
    assert "died" in record.cause
    assert [what for what, _ in desk.listening.heard].count("epoch 1") == 1


def test_a_stopped_run_finishes_its_running_epochs(run_any, open_desk) -> None:
    desks: list[Desk] = []
    desk: Desk = run_any({}, opened=desks, on_epoch=lambda: desks[0].dispatcher.stop("enough"))
    assert (desk.dispatcher.stopping, desk.dispatcher.finished) == ("enough", False)
    records = desk.study.records()
    assert {record.state for record in records} == {TrialState.RUNNING}, "the caller interrupts them"
    assert max(record.fidelity for record in records) == 2
    assert "ended" not in [what for what, _ in desk.listening.heard]


def test_an_error_of_the_dispatcher_ends_the_run(run_any) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "study.log")

    with pytest.raises((OSError, DiskFullError), match="No space left on device"):
        run_any({}, on_epoch=refuse)


def test_a_trial_that_the_user_stops_ends_after_its_epoch(run_any) -> None:
    desks: list[Desk] = []

    def stop_the_second() -> None:
        study = desks[0].study
        if len(study.records()) == 2 and study.record(1).fidelity == 1:
            write_request(desks[0].folder, Stop(1))

    desk: Desk = run_any({}, opened=desks, on_epoch=stop_the_second)
    first, second = desk.study.records()
    assert (first.state, first.fidelity) == (TrialState.COMPLETE, 3)
    assert (second.state, second.cause, second.stop_asked) == (TrialState.PRUNED, STOPPED, True)
    assert second.fidelity in (1, 2), "it ends after the epoch that runs when the request is read"
    assert desk.dispatcher.finished


def test_probabilities_are_stored_and_no_child_is_left(run) -> None:
    desk: Desk = run({})
    for record in desk.study.records():
        stored = [Evidence.read(desk.folder.probabilities(record.number, epoch)) for epoch in (1, 2, 3)]
        assert all((one.validation == EVIDENCE.validation).all() for one in stored)
    assert_no_child_is_left(desk)


def test_a_killed_child_resumes_from_its_last_epoch(run) -> None:
    desk: Desk = run({"0/0": ["epoch", "die"]}, "search.trials=1", "search.scheduler={kind: none}")
    (record,) = desk.study.records()
    assert record.state is TrialState.COMPLETE
    assert record.cause == "the trial's process died with exit code -9"
    names = ["attempt-0/epoch-0001.npz", "attempt-1/epoch-0002.npz", "attempt-1/epoch-0003.npz"]
    assert [report.checkpoint for report in record.reports[:3]] == names


def test_a_silent_child_is_ended_by_its_deadline(run) -> None:
    soon = "search.deadline={shortest_minutes: 0.01, first_epoch_minutes: 0.05}"
    desk: Desk = run({"0/0": ["hang"]}, "search.trials=1", soon)
    (record,) = desk.study.records()
    assert (record.state, record.deaths) == (TrialState.COMPLETE, (0,))
    assert record.cause is not None
    assert record.cause.startswith("no report within 3 s (search.deadline.first_epoch_minutes)")
    assert_no_child_is_left(desk)


def test_a_failed_segment_fails_only_its_trial(run) -> None:
    desk: Desk = run({"0/0": ["epoch", "fail"]})
    failed, other = desk.study.records()
    assert (failed.state, failed.cause, failed.infeasible) == (TrialState.FAIL, "KeyError: 'x'", False)
    assert other.state is TrialState.COMPLETE


def test_out_of_memory_it_resumes_with_fewer_photos(run) -> None:
    desk: Desk = run({"0/0": ["epoch", "no room"]}, "search.trials=1")
    (record,) = desk.study.records()
    assert record.state is TrialState.COMPLETE
    assert record.deaths == ()
    assert [report.micro_batch for report in record.reports] == [None, 4, 4]


def test_a_stopped_segment_finishes_its_epoch_without_an_outcome(run) -> None:
    interrupts = Interrupts()

    def press_once() -> None:
        if not interrupts.asked:
            os.kill(os.getpid(), signal.SIGINT)

    desk: Desk = run({}, "train.stages.head.epochs=2", interrupts=interrupts, on_epoch=press_once)
    assert desk.dispatcher.stopping == INTERRUPTED
    assert not desk.dispatcher.finished
    records = desk.study.records()
    assert all(record.state is TrialState.RUNNING for record in records)
    # It was pressed while the first epoch was being recorded: the next was under way, and is the last.
    assert max(record.fidelity for record in records) == 2
    assert "ended" not in [what for what, _ in desk.listening.heard]
    assert_no_child_is_left(desk)


def test_a_second_ctrl_c_waits_for_no_epoch(run) -> None:
    def press_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    desk: Desk = run({"0/0": ["epoch", "hang"]}, "search.trials=1", on_epoch=press_twice)
    assert desk.dispatcher.stopping == INTERRUPTED
    (record,) = desk.study.records()
    assert (record.state, record.fidelity, record.deaths) == (TrialState.RUNNING, 1, ())


def test_an_error_of_the_dispatcher_ends_every_child(run) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "study.log")

    desks: list[Desk] = []
    with pytest.raises((OSError, DiskFullError), match="No space left on device"):
        run({"1/0": ["hang"]}, on_epoch=refuse, opened=desks)
    assert_no_child_is_left(desks[0])


def test_sigterm_lets_every_trial_save_its_state(run) -> None:
    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    script = {"0/0": ["epoch", "until asked"], "1/0": ["until asked"]}
    interrupts = Interrupts(hand_over_s=200)
    desk: Desk = run(script, interrupts=interrupts, on_epoch=terminate)
    assert (desk.dispatcher.stopping, desk.dispatcher.finished) == (INTERRUPTED, False)
    assert (interrupts.terminated, interrupts.now) == (True, False), "it did not take all of its time"
    first, second = desk.study.records()
    assert (first.state, first.fidelity, first.deaths, first.cause) == (TrialState.WAITING, 1, (), SAVED)
    assert (second.state, second.fidelity, second.deaths) == (TrialState.WAITING, 0, ())
    assert_no_child_is_left(desk)


def test_sigterm_does_not_wait_for_a_trial_that_does_not_answer(run) -> None:
    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    script = {"0/0": ["epoch", "hang"]}
    desk: Desk = run(script, "search.trials=1", interrupts=Interrupts(hand_over_s=0.5), on_epoch=terminate)
    assert desk.dispatcher.stopping == INTERRUPTED
    (record,) = desk.study.records()
    assert (record.state, record.fidelity, record.deaths) == (TrialState.RUNNING, 1, ())


def test_each_segment_gets_the_gpu_and_threads_of_its_slot(open_desk) -> None:
    desk: Desk = open_desk(*TO_THE_END, "search.trials=4")
    write_script(desk.folder.root, {})
    slots = Slots(threads=3, gpus=(0, 1))
    LocalExecutor(slots, interrupts=Interrupts(), main=scripted_child).run(desk.dispatcher)
    places = [json.loads(path.read_text(encoding="utf-8")) for path in desk.folder.root.glob("pid-*")]
    assert len(places) == 4
    assert {place["gpu"] for place in places} == {0, 1}
    assert {place["threads"] for place in places} == {3}


def assert_no_child_is_left(desk: Desk) -> None:
    pids = [int(path.name.partition("-")[2]) for path in Path(desk.folder.root).glob("pid-*")]
    assert pids
    wait_until(lambda: not any(map(is_alive, pids)), "an end to all children", within_s=10)


def test_a_gpu_that_fails_twice_gets_no_more_segments_of_this_machine(open_desk) -> None:
    """Two slots with a GPU each: the trials of the second one continue on the first."""
    desk = open_desk(*TO_THE_END, "search.trials=4", "search.max_restarts=0")
    write_script(desk.folder.root, {f"{number}/{n}": ["break gpu 1"] for number in range(4) for n in range(4)})
    LocalExecutor(Slots(threads=1, gpus=(0, 1)), interrupts=Interrupts(), main=scripted_child).run(desk.dispatcher)
    assert desk.dispatcher.finished
    assert desk.dispatcher.excluded_gpus() == (f"GPU 1 of {platform.node()}",)
    records = desk.study.records()
    assert [(record.state, record.deaths) for record in records] == [(TrialState.COMPLETE, ())] * 4
    gpus = [json.loads(path.read_text())["gpu"] for path in sorted(desk.folder.root.glob("pid-*"))]
    assert (gpus.count(1), gpus.count(0)) == (2, 4)
