"""Callbacks that pass a search's events on to other trackers: `search.run(experiment, on_event=mlflow_tracker())`.

A run there stands for a trial here, and is found again when a search is resumed. Trackers never end a search: what they
raise is logged. Their packages are extras: `pip install 'carsearch[mlflow]'`, `pip install 'carsearch[wandb]'`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from search.progress.search_events import Event
from search.terminal.logs import get_logger

if TYPE_CHECKING:
    from search.api.event_stream import OnEvent

_log = get_logger(__name__)
_METRICS = ("accuracy", "log_loss", "images_per_s", "seconds", "stage")
_STATUS = {
    "started": "RUNNING",
    "promoted": "RUNNING",
    "resumed": "RUNNING",
    "paused": "SCHEDULED",
    "interrupted": "SCHEDULED",
    "complete": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
}
"""MLflow's status of a run after each kind of event."""


def mlflow_tracker(experiment: str = "carsearch", *, tracking_uri: str | None = None) -> "OnEvent":
    """A callback that records each trial as a run of an MLflow experiment.

    tracking_uri: as MLflow takes it; None for MLflow's own default (MLFLOW_TRACKING_URI). Raises ImportError without
    mlflow, and what MLflow raises if it cannot be reached now.
    """
    from mlflow import MlflowClient  # noqa: PLC0415 - an extra
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    client = MlflowClient(tracking_uri)
    known = client.get_experiment_by_name(experiment)
    experiment_id = client.create_experiment(experiment) if known is None else known.experiment_id
    runs: dict[tuple[str, int], str] = {}

    def run_of(study: str, trial: int) -> str:
        if (study, trial) not in runs:
            wanted = f"tags.`carsearch.study` = '{study}' and tags.`carsearch.trial` = '{trial}'"
            found = client.search_runs([experiment_id], wanted, max_results=1)
            tags = {"carsearch.study": study, "carsearch.trial": str(trial)}
            run = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=f"{study}-{trial:04d}")
            runs[study, trial] = run.info.run_id
        return runs[study, trial]

    def record(event: Event) -> None:
        if event.trial is None:
            return
        run = run_of(event.study, event.trial)
        if event.kind == "started":
            client.log_batch(run, params=[Param(name, str(value)) for name, value in (event.params or {}).items()])
        if event.kind == "epoch" and event.epoch is not None:
            at_ms = round(datetime.fromisoformat(event.time).timestamp() * 1000)
            client.log_batch(run, [Metric(name, value, at_ms, event.epoch) for name, value in _metrics(event).items()])
        if event.kind in _STATUS:
            client.set_tag(run, "carsearch.state", event.kind)
            client.update_run(run, status=_STATUS[event.kind])

    return _harmless("MLflow", record)


def wandb_tracker(project: str = "carsearch", **settings: Any) -> "OnEvent":  # noqa: ANN401 - wandb's own
    """A callback that records each trial as a run of a W&B project, in the group of its study.

    settings: further arguments of `wandb.init`, such as `mode="offline"` and `dir`. Raises ImportError without wandb.
    """
    import wandb  # noqa: PLC0415 - an extra

    runs: dict[tuple[str, int], Any] = {}

    def record(event: Event) -> None:
        if event.trial is None:
            return
        key = (event.study, event.trial)
        if key not in runs and event.kind in {"started", "promoted", "resumed", "epoch", "complete", "failed"}:
            name = f"{event.study}-{event.trial:04d}"
            fixed = {"project": project, "group": event.study, "name": name, "id": name, "resume": "allow"}
            runs[key] = wandb.init(config=dict(event.params or {}), reinit="create_new", **{**settings, **fixed})
        run = runs.get(key)
        if run is None:
            return
        if event.kind == "epoch":
            run.log(_metrics(event), step=event.epoch)
        if event.kind in _STATUS:
            run.summary["carsearch.state"] = event.kind
        if event.kind in {"paused", "interrupted", "complete", "pruned", "failed"}:
            runs.pop(key).finish(exit_code=1 if event.kind == "failed" else 0)

    return _harmless("W&B", record)


def _metrics(event: Event) -> dict[str, float]:
    values = {name: getattr(event, name) for name in _METRICS}
    return {name: float(value) for name, value in values.items() if value is not None}


def _harmless(name: str, record: Callable[[Event], None]) -> "OnEvent":
    """The callback, with its errors logged."""

    def on_event(event: Event) -> None:
        try:
            record(event)
        except Exception as error:  # noqa: BLE001 - clients raise anything, and a search outlives them
            _log.warning("%s has not recorded '%s' of trial %s: %s", name, event.kind, event.trial, error)

    return on_event
