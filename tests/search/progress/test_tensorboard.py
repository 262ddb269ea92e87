"""Event files as a real TensorBoard serves them over HTTP."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from carcls.events import PhaseSeconds, StoreUse
from search.policy.records import TrialRecord, TrialState
from search.progress.event_files import EventLog, WrittenEvents, epoch_scalars, read_events
from search.progress.tensorboard import TensorBoardWriter
from tests.helpers.search.processes import wait_until
from tests.helpers.search.trial_builders import climb, epoch_report, trial
from tests.helpers.tensorboard_server import TensorBoard

BASELINE_PARAMS = {"train.backbone": "MobileNet", "train.head.dropout": 0.25, "train.head.batch_norm": True}
OTHER_PARAMS = {"train.backbone": "Xception", "train.image_size": 224, "train.stages": [1, None]}


def write_study(folder: Path) -> None:
    """A complete trial that was resumed once, a failed one with other parameters, and a retrain."""
    first, second = climb([0.5, 0.75], [0.625])[:2], climb([0.5, 0.75], [0.625])[2:]
    writer = TensorBoardWriter(folder)
    writer.trial_started(0, BASELINE_PARAMS)
    for report in first:
        writer.epoch(0, report)
    writer.close()

    resumed = TensorBoardWriter(folder)
    resumed.trial_started(0, BASELINE_PARAMS)
    for report in second:
        resumed.epoch(0, report)
    resumed.trial_ended(trial(0, TrialState.COMPLETE, first + second, params=BASELINE_PARAMS))
    resumed.trial_started(1, OTHER_PARAMS)
    resumed.trial_ended(trial(1, TrialState.FAIL, params=OTHER_PARAMS, cause="diverged", infeasible=True))
    resumed.trial_started(2, {"train.image_size": 160})
    resumed.trial_ended(trial(2, TrialState.PAUSED, climb([0.25])))
    resumed.trial_ended(trial(2, TrialState.FAIL, climb([0.25, 0.375]), cause="killed"))
    resumed.close()

    EventLog(folder / "retrain").epoch(epoch_report(1, accuracy=0.875))


def test_times_and_the_stores_use_are_plotted():
    seconds = PhaseSeconds(train=8.0, validate=2.0, build=1.0, trace=4.0, store=0.5, data_wait=0.25)
    scalars = epoch_scalars(replace(epoch_report(1), seconds=seconds, store=StoreUse(reused=3)))
    assert {tag: value for tag, value in scalars.items() if tag.startswith(("time/", "store/"))} == {
        "time/train_s": 8.0,
        "time/validate_s": 2.0,
        "time/build_s": 1.0,
        "time/trace_s": 4.0,
        "time/store_s": 0.5,
        "time/data_wait_s": 0.25,
        "store/reused": 3,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    server = TensorBoard(folder)
    try:
        server.tags = loaded(server)
        yield server
    finally:
        server.end()


def loaded(server: TensorBoard) -> dict[str, dict]:
    """Tags by run, once all are there."""
    tags = server.runs_loaded({"trials/0000", "retrain"})
    wait_until(lambda: len(server.scalars("trials/0000", "validation/accuracy")) == 3, "the trial's curve")
    return tags


def session_groups(server: TensorBoard) -> dict[str, dict]:
    metrics = [{"name": {"group": "", "tag": tag}} for tag in ("best/validation_accuracy", "validation/accuracy")]
    states = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    query = {"allowedStatuses": states, "colParams": [{"metric": m["name"]} for m in metrics], "startIndex": 0}
    answer = server.ask("/data/plugin/hparams/session_groups", {**query, "sliceSize": 100})
    return {group["name"]: group for group in answer["sessionGroups"]}


def test_every_curve_is_there(server):
    assert set(server.tags["trials/0000"]) == {
        *epoch_scalars(epoch_report(1)), "best/validation_accuracy", "best/validation_log_loss",
    }  # fmt: skip


def test_a_resumed_trial_is_one_curve(server):
    assert server.scalars("trials/0000", "validation/accuracy") == [[1, 0.5], [2, 0.75], [3, 0.625]]
    assert server.scalars("trials/0000", "stage") == [[1, 0.0], [2, 0.0], [3, 1.0]]
    assert server.scalars("trials/0000", "image_size") == [[1, 96.0], [2, 96.0], [3, 128.0]]


def test_any_folder_holds_a_run(server):
    assert server.scalars("retrain", "validation/accuracy") == [[1, 0.875]]


def test_hparams_know_the_parameters_of_all_trials(server):
    answer = server.ask("/data/plugin/hparams/experiment", {})
    types = {info["name"]: info["type"] for info in answer["hparamInfos"]}
    assert types == {
        "train.backbone": "DATA_TYPE_STRING",
        "train.head.dropout": "DATA_TYPE_FLOAT64",
        "train.head.batch_norm": "DATA_TYPE_BOOL",
        "train.image_size": "DATA_TYPE_FLOAT64",
        "train.stages": "DATA_TYPE_STRING",
    }


def test_hparams_list_every_trial_with_its_parameters(server):
    groups = session_groups(server)
    assert groups["0000"]["hparams"] == BASELINE_PARAMS
    assert groups["0001"]["hparams"] == {**OTHER_PARAMS, "train.stages": "[1, null]"}
    assert {name: group["sessions"][0]["status"] for name, group in groups.items()} == {
        "0000": "STATUS_SUCCESS",
        "0001": "STATUS_FAILURE",
        "0002": "STATUS_FAILURE",
    }


def test_hparams_show_the_best_and_the_last_accuracy(server):
    values = {m["name"]["tag"]: m["value"] for m in session_groups(server)["0000"]["metricValues"]}
    assert values["best/validation_accuracy"] == 0.75
    assert values["best/validation_log_loss"] == 0.25
    assert values["validation/accuracy"] == 0.625


def test_a_pause_tells_the_best_so_far_and_no_end(server):
    assert server.scalars("trials/0002", "best/validation_accuracy") == [[1, 0.25], [2, 0.375]]


def test_a_resume_opens_a_new_file(tmp_path):
    write_study(tmp_path)
    assert len(list((tmp_path / "trials/0000").glob("events.out.tfevents.*"))) == 2


def test_what_a_killed_driver_came_not_to_write_is_written_once(tmp_path):
    reports = climb([0.5, 0.75], [0.625])
    folder = tmp_path / "trials/0000"
    killed = TensorBoardWriter(tmp_path)
    killed.trial_started(0, BASELINE_PARAMS)
    killed.epoch(0, reports[0])
    killed.epoch(0, reports[1])
    torn = next(folder.iterdir())
    torn.write_bytes(torn.read_bytes()[:-5])
    assert read_events(folder) == WrittenEvents(started=True, ended=False, epochs=frozenset({1}))
    complete = trial(0, TrialState.COMPLETE, reports, params=BASELINE_PARAMS)
    TensorBoardWriter(tmp_path).catch_up(complete)
    assert read_events(folder) == WrittenEvents(started=True, ended=True, epochs=frozenset({1, 2, 3}))
    sizes = {path: path.stat().st_size for path in folder.iterdir()}
    TensorBoardWriter(tmp_path).catch_up(complete)
    assert {path: path.stat().st_size for path in folder.iterdir()} == sizes


def test_catching_up_skips_waiting_trials_and_adds_missing_ones(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.catch_up(replace(trial(0, TrialState.WAITING), attempts=0))
    assert not (tmp_path / "trials/0000").exists()
    writer.catch_up(trial(1, TrialState.PAUSED, climb([0.5])))
    assert read_events(tmp_path / "trials/0001") == WrittenEvents(started=True, ended=False, epochs=frozenset({1}))


def curve(folder: Path, tag: str = "validation/accuracy") -> list[tuple[int, float]]:
    """(step, value) pairs from TensorBoard's own reader."""
    reader = EventMultiplexer().AddRun(str(folder), "run").Reload()
    return [(event.step, event.tensor_proto.float_val[0]) for event in reader.Tensors("run", tag)]


FIRST, AGAIN = climb([0.5, 0.75, 0.625, 0.875]), climb([0.5, 0.25, 0.375])
"""Epochs before and after a fallback to epoch 1."""


def fallen_back(*fallbacks: int) -> TrialRecord:
    return replace(trial(0, TrialState.RUNNING, AGAIN), fallbacks=fallbacks)


def test_epochs_that_are_trained_again_are_one_curve(tmp_path):
    folder, writer = tmp_path / "trials/0000", TensorBoardWriter(tmp_path)
    writer.trial_started(0, BASELINE_PARAMS)
    for report in FIRST:
        writer.epoch(0, report)
    writer.trial_ended(trial(0, TrialState.PAUSED, FIRST))
    assert curve(folder, "best/validation_accuracy") == [(4, 0.875)]
    writer.catch_up(replace(fallen_back(1), reports=AGAIN[:1]))
    assert curve(folder) == [(1, 0.5)], "nothing is shown of what is lost, also before it is trained again"
    assert read_events(folder) == WrittenEvents(started=True, ended=False, epochs=frozenset({1}), fallbacks=1)
    writer.epoch(0, AGAIN[1])
    writer.close()
    resumed = TensorBoardWriter(tmp_path)
    resumed.catch_up(fallen_back(1))
    resumed.catch_up(fallen_back(1))
    assert curve(folder) == [(1, 0.5), (2, 0.25), (3, 0.375)]
    resumed.trial_ended(fallen_back(1))
    assert curve(folder, "best/validation_accuracy") == [(1, 0.5)]


@pytest.mark.parametrize("told", [0, 1, 2, 3])
def test_a_fallback_that_was_not_written_is_caught_up(tmp_path, told):
    """The writer was killed, had a full disk, or was an older version, at any point between two records."""
    folder, writer = tmp_path / "trials/0000", TensorBoardWriter(tmp_path)
    writer.trial_started(0, BASELINE_PARAMS)
    for report in (*FIRST, *AGAIN[1:])[: 2 + told]:
        writer.epoch(0, report)
    TensorBoardWriter(tmp_path).catch_up(fallen_back(2, 1))
    assert curve(folder) == [(1, 0.5), (2, 0.25), (3, 0.375)]
    whole = WrittenEvents(started=True, ended=False, epochs=frozenset({1, 2, 3}), fallbacks=2)
    assert read_events(folder) == whole
    TensorBoardWriter(tmp_path).catch_up(fallen_back(2, 1, 0))
    assert curve(folder) == [(1, 0.5), (2, 0.25), (3, 0.375)]
    assert read_events(folder) == replace(whole, fallbacks=3)


def test_a_record_that_finds_no_room_leaves_nothing_that_hides_the_next(tmp_path):
    log = EventLog(tmp_path)
    log.epoch(epoch_report(1))
    (file,) = tmp_path.iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            log.epoch(epoch_report(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.epoch(epoch_report(3))
    assert read_events(tmp_path).epochs == {1, 3}


def test_names_from_outside_are_text_and_stay_in_the_folder(tmp_path):
    hostile = "\x1b]0;x\x07<script>[red]\u202e../../x"
    root = tmp_path / "study"
    writer = TensorBoardWriter(root)
    writer.trial_started(0, {hostile: hostile, "train.weights": "../../../evil.h5"})
    writer.epoch(0, epoch_report(1))
    writer.trial_ended(trial(0, TrialState.FAIL, params={hostile: hostile}, cause=hostile + "\udcff"))
    assert read_events(root / "trials/0000") == WrittenEvents(started=True, ended=True, epochs=frozenset({1}))
    assert all((root / "trials/0000") == path.parent for path in tmp_path.rglob("*") if path.is_file())


def test_no_file_stays_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    writer = TensorBoardWriter(tmp_path)
    for number in range(70):
        writer.trial_started(number, {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_tensorflow_is_not_imported(tmp_path):
    program = (
        "import sys; from pathlib import Path; from search.progress.event_files import EventLog;"
        f"EventLog(Path({str(tmp_path)!r})).start('0', {{'a': 1}});"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
