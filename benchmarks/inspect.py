"""How heavy it is to look at a search of 1,000 trials with 10 epochs each: python -m benchmarks.inspect [--trials N].

Curves are made up, photos are drawn. The report's size and the time to build it; the bytes of the trials' event files,
and how long TensorBoard's own reader takes to load them, beside the files that Ray Tune's TBXLoggerCallback writes for
the same trials, values and parameters.
"""

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from benchmarks.harness import finish, judge, table
from search.policy.records import TrialRecord
from search.progress.event_files import epoch_scalars
from search.report.page import write_study_report
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.made_up_study import made_up_study

REPORT_LIMIT_BYTES = 5_000_000


class _RayTrial(SimpleNamespace):
    """What TBXLoggerCallback asks of a trial."""

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __hash__(self) -> int:
        return hash(self.local_path)


def write_as_ray(records: tuple[TrialRecord, ...], folder: Path) -> float:
    """Writes the same curves through Ray's callback; returns its seconds."""
    from ray.tune.logger import TBXLoggerCallback

    callback = TBXLoggerCallback()
    started = time.perf_counter()
    for record in records:
        trial = _RayTrial(local_path=str(folder / f"{record.number:04d}"), evaluated_params=dict(record.params))
        callback.log_trial_start(trial)
        for report in record.reports:
            callback.log_trial_result(
                report.epoch, trial, {**epoch_scalars(report), "training_iteration": report.epoch}
            )
        callback.log_trial_end(trial)
    return time.perf_counter() - started


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("events.out.tfevents.*"))


def load_s(folder: Path) -> float:
    """Seconds in which TensorBoard's reader loads all runs."""
    started = time.perf_counter()
    multiplexer = EventMultiplexer(purge_orphaned_data=True)
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    took = time.perf_counter() - started
    if not multiplexer.Runs():
        raise ValueError(f"{folder}: TensorBoard finds no runs")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folder, experiment = made_up_study(root, trials=trials, every=1)
        report_s = _timed_report(folder, experiment)
        size = folder.report.stat().st_size
        records = Study.open(folder.root, read_only=True).records()
        ray_write_s = write_as_ray(records, root / "ray")
        load_s(folder.summary)  # the reader's first call imports TensorFlow
        ours, rays = _interleaved(folder.trials, root / "ray")
        our_bytes, ray_bytes = bytes_below(folder.trials), bytes_below(root / "ray")
        print(
            table(
                ["what", "ours", "TBXLoggerCallback"],
                [
                    ["event files", f"{our_bytes / 1e6:.1f} MB", f"{ray_bytes / 1e6:.1f} MB"],
                    ["TensorBoard loads them", f"{ours:.1f} s", f"{rays:.1f} s"],
                    ["summary/ of the report", f"{bytes_below(folder.summary) / 1e6:.1f} MB", "-"],
                    ["report.html", f"{size / 1e6:.2f} MB, {report_s:.1f} s", "-"],
                ],
            )
        )
        epochs = sum(record.fidelity for record in records)
        print(f"{trials} trials, {epochs} epochs; Ray's callback wrote for {ray_write_s:.1f} s")
        finish(
            "inspect",
            [
                judge("bytes of report.html", ours=size, peer=REPORT_LIMIT_BYTES, target=1.0, smaller_is_better=True),
                judge("bytes of event files", ours=our_bytes, peer=ray_bytes, target=1.0, smaller_is_better=True),
                judge("seconds until TensorBoard has loaded them", ours=ours, peer=rays, target=1.0,
                      smaller_is_better=True),
            ],
            report_s=round(report_s, 2),
        )  # fmt: skip


def _interleaved(ours: Path, rays: Path) -> tuple[float, float]:
    """The shorter of two loads of each, in turns, so that a busy machine is busy for both."""
    times = [(load_s(ours), load_s(rays)) for _ in range(2)]
    return min(first for first, _ in times), min(second for _, second in times)


def _timed_report(folder: StudyFolder, experiment: object) -> float:
    started = time.perf_counter()
    write_study_report(folder, experiment)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
