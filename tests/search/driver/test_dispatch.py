"""How the dispatcher hands out segments and settles their outcomes."""

from dataclasses import replace

from search.driver.study_dispatch import WorkerSettings
from search.policy.records import TrialState
from search.worker.segment import Outcome, Segment
from tests.helpers.search.dispatch_desk import ACCURACIES, HEAD_EPOCHS
from tests.helpers.search.tiny import STAGES


def test_a_segment_holds_all_that_its_worker_needs(open_desk) -> None:
    worker = WorkerSettings(threads=3, gpu_share=0.5, store={"root": "/store"}, deterministic=False)
    changes = ("search.seed=7", "search.deadline.epoch_factor=4", "search.checkpoints.full_disk_minutes=5")
    desk = open_desk(*changes, worker=worker)

    segment = desk.take()

    assert segment == Segment(
        study=str(desk.folder.root),
        number=0,
        attempt=0,
        config=desk.experiment.bind(desk.experiment.baseline).model_dump(mode="json"),
        resume=None,
        stop_after_stage=0,
        data_root=str(desk.experiment.data.root),
        view_seed=7,
        store={"root": "/store"},
        threads=3,
        gpu_share=0.5,
        deterministic=False,
        deadline={"epoch_factor": 4.0, "shortest_minutes": 10.0, "first_epoch_minutes": 120.0},
        rank_by="log_loss",
        wait_minutes=5.0,
    )
    assert desk.state(0) is TrialState.RUNNING, "recorded before a worker starts"
    assert desk.study.record(0).params == desk.experiment.baseline
    assert desk.study.record(0).is_baseline


def test_a_whole_search_follows_the_ladder(open_desk) -> None:
    desk = open_desk()
    order = []
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        order.append((segment.number, segment.stop_after_stage, segment.resume))
        desk.work(segment, accuracy=ACCURACIES[segment.number])

    assert segment == "finished"
    assert desk.dispatcher.finished
    first_rung = f"attempt-0/epoch-{HEAD_EPOCHS:04d}.npz"
    assert order == [
        (0, 0, None),
        (0, 1, first_rung),  # the baseline always goes to its end
        (1, 0, None),
        (2, 0, None),
        (2, 1, first_rung),  # the best of three is promoted before a fourth is proposed
        (3, 0, None),
        (3, 1, first_rung),  # the best trial left paused is run to its end
    ]
    assert [record.state for record in desk.study.records()] == [
        TrialState.COMPLETE,
        TrialState.PAUSED,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    assert all(record.stage_count == STAGES for record in desk.study.records())


def test_listeners_hear_each_epoch_once_and_after_the_study(open_desk) -> None:
    desk = open_desk()
    segment = desk.take()
    first = desk.epoch(0)
    desk.dispatcher.report(0, first)  # a worker that was resumed repeats what is recorded already
    desk.dispatcher.report(0, replace(first, val_accuracy=0.99))
    desk.epoch(0, ended=True)
    desk.dispatcher.segment_ended(segment.number, Outcome("ended"))

    assert desk.listening.heard == [("started", 0), ("epoch 1", 0), ("epoch 2", 0), ("ended", 0)]
    assert desk.study.record(0).reports[0] == first


def test_unneeded_checkpoints_are_deleted(open_desk) -> None:
    desk = open_desk("train.stages.head.epochs=4")
    desk.take()
    for accuracy in (0.5, 0.4, 0.3):
        desk.epoch(0, accuracy=accuracy)
    kept = {path.name for path in (desk.folder.trial(0) / "attempt-0").iterdir()}
    assert kept == {"epoch-0002.npz", "epoch-0003.npz", "best-0002.npz", "best-0003.npz"}


def test_waits_for_the_baseline_when_no_trial_is_left(open_desk) -> None:
    desk = open_desk("search.trials=1")
    segment = desk.take()
    assert desk.dispatcher.next_segment() == "wait"
    assert not desk.dispatcher.finished
    desk.work(segment)
    desk.work(desk.take())
    assert desk.dispatcher.next_segment() == "finished"
    assert len(desk.study.records()) == 1


def test_a_killed_trial_resumes_from_its_last_checkpoint(open_desk) -> None:
    desk = open_desk()
    desk.take()
    report = desk.epoch(0)
    desk.dispatcher.segment_ended(0, Outcome("killed", "the trial's process died with exit code -9"))

    record = desk.study.record(0)
    assert (record.state, record.deaths) == (TrialState.WAITING, (1,))
    assert record.cause == "the trial's process died with exit code -9"
    again = desk.take()
    assert (again.number, again.attempt, again.stop_after_stage) == (0, 1, 0)
    assert again.resume == report.checkpoint


def test_a_stage_may_end_earlier_when_trained_again(open_desk) -> None:
    """The quota deleted its checkpoints while it was paused, and early stopping decides differently now."""
    desk = open_desk("train.stages.head.epochs=4", "search.trials=1")
    desk.take()
    for ended in (False, False, True):
        desk.epoch(0, ended=ended)
    desk.dispatcher.segment_ended(0, Outcome("ended"))
    assert desk.take().stop_after_stage == 1
    desk.dispatcher.fell_back(0, 0)
    desk.epoch(0, stage=0, ended=True)
    desk.epoch(0, stage=1, ended=True)
    desk.dispatcher.segment_ended(0, Outcome("ended"))
    assert desk.state(0) is TrialState.COMPLETE, "both stages ended within the epochs that the first one had before"
    assert [report.stage for report in desk.study.record(0).reports] == [0, 1]
    assert desk.dispatcher.next_segment() == "finished"


def test_a_rung_reached_earlier_after_lost_epochs_counts(open_desk) -> None:
    desk = open_desk("train.stages.head.epochs=8", "search.trials=1")
    desk.take()
    for _ in range(4):
        desk.epoch(0)
    desk.dispatcher.segment_ended(0, Outcome("killed", "lost"))
    desk.take()
    desk.dispatcher.fell_back(0, 1)
    assert desk.listening.heard[-1] == ("fell back", 0)
    desk.epoch(0, ended=True)
    before = desk.study.records()
    again = open_desk("train.stages.head.epochs=8", "search.trials=1")
    assert again.study.records() == before
    again.dispatcher.segment_ended(0, Outcome("ended"))
    assert (again.state(0), again.study.record(0).fidelity) == (TrialState.PAUSED, 2)
    assert again.take().resume == before[0].reports[1].checkpoint


def test_no_segment_starts_after_stop(open_desk) -> None:
    desk = open_desk()
    segment = desk.take()
    desk.dispatcher.stop("Ctrl-C")
    desk.dispatcher.stop("another reason")
    assert desk.dispatcher.next_segment() == "finished"
    desk.work(segment)
    assert (desk.state(0), desk.dispatcher.stopping) == (TrialState.PAUSED, "Ctrl-C")
    assert not desk.dispatcher.finished


def test_a_new_driver_decides_like_the_old_one(open_desk) -> None:
    desk = open_desk()
    for _ in range(3):
        desk.work(desk.take())
    desk.take()
    desk.study.interrupt_running()

    again = open_desk()
    resumed = again.take()

    assert (resumed.number, resumed.attempt, resumed.resume) == (2, 1, None)
    assert again.study.record(2).deaths == (), "an interrupted run is not a death"
