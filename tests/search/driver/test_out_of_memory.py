"""Running out of memory, up to the end of the search: a real dispatcher and study; real processes in the fault test."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from carcls.config import TrainConfig
from carcls.events import EpochReport
from search.driver.study_dispatch import StudyDispatcher
from search.policy.oom import OomKey, OomRecord
from search.policy.records import TrialState
from search.study.study import Study
from search.worker.oom_detector import known_out_of_memory
from search.worker.segment import Outcome, Segment
from tests.helpers.search.short_of_memory import short_child
from tests.helpers.search.tiny import EXPERIMENT

HERE = "CPU, 512 MiB"
WHOLE = ("search.scheduler={kind: none}", "train.head={batch_norm: false, dropout: 0.0}")


def no_room(config: TrainConfig, stage: int, photos: int, tries: int = 1) -> Outcome:
    refusal = OomRecord(OomKey.of(config, stage, HERE), photos, tries)
    return Outcome("out_of_memory", "OutOfMemoryError: no room", stage=stage, oom_record=refusal.to_json())


def test_a_segment_is_retried_while_fewer_photos_may_fit(open_desk) -> None:
    desk = open_desk(*WHOLE, "train.batch_size=16", "search.max_restarts=0")
    config = desk.study.config(desk.take().number)
    for photos in (16, 8, 4):
        desk.dispatcher.segment_ended(0, no_room(config, 0, photos))
        assert desk.state(0) is TrialState.WAITING
        again = desk.take()
        assert again.oom_records == [OomRecord(OomKey.of(config, 0, HERE), photos).to_json()]
    assert (desk.study.record(0).attempts, desk.study.record(0).deaths) == (4, ()), "no restart is used up"
    desk.work(again)
    assert desk.state(0) is TrialState.COMPLETE


def test_a_trial_whose_smallest_micro_batch_fails_is_infeasible(open_desk) -> None:
    desk = open_desk(*WHOLE)
    config = desk.study.config(desk.take().number)
    desk.dispatcher.segment_ended(0, no_room(config, 0, 3, tries=2))
    record = desk.study.record(0)
    assert (record.state, record.infeasible) == (TrialState.FAIL, True), "random weights: BatchNorm needs three"
    assert record.cause == "OutOfMemoryError: no room"


def test_the_smallest_micro_batch_is_handed_out_twice(open_desk) -> None:
    desk = open_desk(*WHOLE, "search.max_restarts=0")
    first, second = desk.take(), desk.take()
    config = desk.study.config(first.number)
    for segment in (first, second):  # they ran at the same moment
        desk.dispatcher.segment_ended(segment.number, no_room(config, 0, 3))
        assert desk.state(segment.number) is TrialState.WAITING
    again = desk.take()
    assert (again.number, again.oom_records) == (0, [OomRecord(OomKey.of(config, 0, HERE), 3).to_json()])
    desk.work(again)
    assert desk.state(0) is TrialState.COMPLETE, "there is room now"


def test_a_trial_that_was_not_tried_has_no_output(open_desk) -> None:
    desk = open_desk(*WHOLE)
    config = desk.study.config(desk.printed(desk.take()).number)
    desk.dispatcher.segment_ended(0, no_room(config, 0, 3, tries=2))
    untried = replace(desk.take(), device=HERE)
    known_end = known_out_of_memory(untried)
    assert known_end is not None
    desk.dispatcher.segment_ended(1, known_end)
    tried, other = desk.study.records()
    assert (tried.infeasible, other.infeasible) == (True, True)
    assert (tried.traceback, other.traceback) == ("trials/0000/attempt-0/output.log", None)
    assert (other.cause or "").startswith(
        "stage 'head': not tried, because 3 photos at once had no room on CPU, 512 MiB"
    )


def test_later_trials_and_drivers_use_the_records(open_desk) -> None:
    desk = open_desk(*WHOLE)
    config = desk.study.config(desk.take().number)
    desk.dispatcher.segment_ended(0, no_room(config, 1, 8))
    again = open_desk(*WHOLE)
    again.study.interrupt_running()
    known = [OomRecord(OomKey.of(config, 1, HERE), 8).to_json()]
    assert again.take().oom_records == known
    assert again.take().oom_records == known, "another trial"


def test_a_segment_names_its_first_stage(open_desk) -> None:
    desk = open_desk()
    first = desk.take()
    desk.work(first)
    assert (first.first_stage, desk.take().first_stage) == (0, 1)


ROOM = {(0, 32): 4, (1, 32): 3, (0, 48): 1}


@pytest.mark.fault
def test_three_batch_sizes_and_two_stages_end_with_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from search.driver.create import create_study
    from search.experiment.experiment import load
    from search.policy.policy import search_policy
    from search.study.folder import StudyFolder
    from tests.helpers.search.dispatch_desk import CPU
    from tests.helpers.search.tiny import write_tiny

    monkeypatch.chdir(tmp_path)
    file = write_tiny(tmp_path, EXPERIMENT.replace("{uniform: [0.0, 0.5]}", "0.25"))
    experiment = load(file, ["search.scheduler={kind: none}", "search.trials=5", "search.max_restarts=0"])
    folder: StudyFolder = create_study(experiment)
    with Study.open(folder.root) as study:
        for number, changes in enumerate(
            [{"batch_size": 8}, {"batch_size": 4}, {"batch_size": 16}, {"batch_size": 16}, {"image_size": 48}]
        ):
            config = experiment.bind(experiment.baseline).model_copy(update=changes)
            study.add_trial(experiment.baseline, config, is_baseline=number == 0)
        dispatcher = StudyDispatcher(experiment, study, folder, policy=search_policy(experiment), worker=CPU)
        tries = play(dispatcher, folder)
        records = study.records()

    assert [record.state for record in records] == [TrialState.COMPLETE] * 4 + [TrialState.FAIL]
    assert [record.infeasible for record in records] == [False] * 4 + [True]
    by_trial = [[photos for number, photos in tries if number == trial] for trial in range(5)]
    assert by_trial == [
        [[None, None], [4, 4], [4, 3]],
        [[None, 3]],
        [[4, 3]],
        [[4, 3]],
        [[4, 3], [3, 3], [3, 3]],
    ]
    assert all(record.deaths == () for record in records), "running out of memory is not a death"
    for record, head in zip(records[:4], (4, None, 4, 4), strict=True):
        assert [(report.epoch, report.micro_batch) for report in record.reports] == [(1, head), (2, head), (3, 3)]
    assert records[0].reports[2].checkpoint == "attempt-2/epoch-0003.npz"
    assert records[0].reports[1].checkpoint == "attempt-1/epoch-0002.npz", "the head was not trained again"
    assert "in expectation only" in records[0].reports[0].notes[0]


def play(dispatcher: StudyDispatcher, folder) -> list[tuple[int, list[int | None]]]:
    """Runs the search one segment at a time without Ray; returns (trial, photos at once) of each segment."""
    from search.worker.oom_detector import with_micro_batches
    from search.worker.supervisor import segment_messages

    tries = []
    while isinstance(segment := dispatcher.next_segment(), Segment):
        tries.append((segment.number, with_micro_batches(segment).micro_batch))
        outcome = None
        for message in segment_messages(segment, partial(short_child, ROOM)):
            if isinstance(message, EpochReport):
                dispatcher.report(segment.number, message)
            outcome = message
        assert isinstance(outcome, Outcome)
        assert outcome.kind in ("ended", "out_of_memory"), (
            outcome,
            folder.output_name(segment.number, segment.attempt),
        )
        dispatcher.segment_ended(segment.number, outcome)
    return tries


IN_GROUP = """
import json, subprocess, sys
from search.worker.machine_memory import oom_kills, was_killed_for_memory
before = oom_kills()
child = subprocess.run([sys.executable, "-c", "held = chr(120).encode() * 2**30"], stderr=subprocess.DEVNULL)
after = oom_kills()
found = was_killed_for_memory(child.returncode, kills_before=before, kills_after=after)
print(json.dumps([child.returncode, after - before, found]))
"""


@pytest.fixture
def control_group():
    """A control group with a limit of 256 MiB."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"carsearch-test-{os.getpid()}"
        if not (root / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(256 * 2**20))
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group can be made here: that needs root, and a writable /sys/fs/cgroup")


@pytest.mark.fault
def test_the_kernels_own_kill_is_recognised(control_group: Path) -> None:
    enter = f"echo $$ > {control_group}/cgroup.procs && exec {sys.executable} -c '{IN_GROUP}'"
    ran = subprocess.run(["sh", "-c", enter], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(ran.stdout) == [-9, 1, True]


def test_an_out_of_memory_error_names_its_stage_if_known() -> None:
    from carcls.errors import OutOfMemoryError
    from search.worker.child import outcome_of

    refusal = OutOfMemoryError("no room\nand more")
    refusal.stage = 1
    assert outcome_of(refusal) == Outcome("out_of_memory", "OutOfMemoryError: no room", stage=1)
    assert outcome_of(refusal).user_message == "no room\nand more"
    assert outcome_of(MemoryError("x")) == Outcome("out_of_memory", "MemoryError: x")
