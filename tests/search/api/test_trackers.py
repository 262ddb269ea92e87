"""Events in MLflow's file store and in W&B's offline files."""

import logging

import pytest

from search.progress.search_events import Event

TIME = "2026-11-29T02:10:04+00:00"


def events(study: str = "cars") -> list[Event]:
    """A trial that is paused after two epochs, and one that fails."""
    return [
        Event("search_started", study, TIME, trials_ended=0),
        Event("started", study, TIME, trial=0, params={"train.image_size": 96, "train.backbone": "small"}),
        Event("epoch", study, TIME, trial=0, epoch=1, accuracy=0.5, log_loss=1.5, seconds=3.0, stage=0),
        Event("started", study, TIME, trial=1, params={"train.image_size": 128}),
        Event("epoch", study, TIME, trial=0, epoch=2, accuracy=0.75, log_loss=0.5, seconds=3.0, stage=0),
        Event("paused", study, TIME, trial=0, epoch=2, accuracy=0.75),
        Event("failed", study, TIME, trial=1, epoch=0, cause="NaN"),
    ]


@pytest.fixture
def tracked(tmp_path, monkeypatch):
    """An MLflow client over a file store."""
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'carsearch[mlflow]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    from search.api.trackers import mlflow_tracker

    uri = (tmp_path / "mlruns").as_uri()
    return MlflowClient(uri), lambda: mlflow_tracker("photos", tracking_uri=uri)


def test_a_trial_is_a_run_of_mlflow_with_its_curve(tracked):
    client, tracker = tracked
    record = tracker()
    for event in events():
        record(event)
    later = tracker()  # a resumed search
    later(Event("promoted", "cars", TIME, trial=0, stage=1, epoch=2))
    later(Event("epoch", "cars", TIME, trial=0, epoch=3, accuracy=0.875, log_loss=0.25, stage=1))
    later(Event("complete", "cars", TIME, trial=0, epoch=3, accuracy=0.875))
    experiment = client.get_experiment_by_name("photos")
    runs = {run.data.tags["carsearch.trial"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"0", "1"}
    assert runs["0"].data.params == {"train.image_size": "96", "train.backbone": "small"}
    assert (runs["0"].info.status, runs["0"].data.tags["carsearch.state"]) == ("FINISHED", "complete")
    assert (runs["1"].info.status, runs["1"].info.run_name) == ("FAILED", "cars-0001")
    curve = client.get_metric_history(runs["0"].info.run_id, "accuracy")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.75), (3, 0.875)]
    assert curve[0].timestamp == 1795918204000


def test_a_tracker_that_fails_is_logged_and_ends_nothing(tracked, caplog):
    client, tracker = tracked
    record = tracker()
    client.delete_experiment(client.get_experiment_by_name("photos").experiment_id)
    with caplog.at_level(logging.WARNING):
        for event in events():
            record(event)
    assert "MLflow has not recorded 'started' of trial 0" in caplog.text


def test_trials_are_offline_runs_of_wandb(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'carsearch[wandb]'")
    monkeypatch.setenv("WANDB_SILENT", "true")
    from search.api.trackers import wandb_tracker

    record = wandb_tracker("photos", mode="offline", dir=tmp_path)
    for event in events():
        record(event)
    written = sorted(path.name for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert written == ["run-cars-0000.wandb", "run-cars-0001.wandb"]
    content = next(tmp_path.glob("wandb/offline-run-*/run-cars-0000.wandb")).read_bytes()
    assert all(word in content for word in (b"accuracy", b"log_loss", b"0.75", b"train.backbone"))
