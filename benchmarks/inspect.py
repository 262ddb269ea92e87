"""How heavy it is to look at a search of 1,000 trials with 10 epochs each: python -m benchmarks.inspect [--trials N].

Curves are made up, photos are drawn. The report's size, the time to build it, and how it feels in Chromium. The bytes
of the trials' event files, how long TensorBoard's own reader takes to load them, and how long a `tensorboard` command
takes from its start until it serves every trial, beside the files that Ray Tune's TBXLoggerCallback writes for the same
trials, values and parameters.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from benchmarks.harness import finish, judge, table
from benchmarks.page_feel import page_feel
from search.policy.records import TrialRecord
from search.progress.event_files import epoch_scalars
from search.report.page import write_study_report
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.tensorboard_server import TensorBoard

REPORT_LIMIT_BYTES = 5_000_000
FLUID_HOVER_MS = 50.0
"""Median time of a pointer's move over the curves, at most; a tenth of a second feels like at once."""
FLUID_SORT_MS = 200.0


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
    """Seconds of CPU in which TensorBoard's reader, which has one thread, loads all runs."""
    gc.collect()
    gc.freeze()  # what this process holds besides is not collected on the reader's time
    started = time.process_time()
    multiplexer = EventMultiplexer(purge_orphaned_data=True)
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    took = time.process_time() - started
    gc.unfreeze()
    if not multiplexer.Runs():
        raise ValueError(f"{folder}: TensorBoard finds no runs")
    return took


def served_s(folder: Path, trials: int) -> float:
    """Seconds from the start of `tensorboard --logdir` until it serves all trials."""
    started = time.perf_counter()
    server = TensorBoard(folder)
    try:
        while len(server.ask("/data/plugin/scalars/tags")) < trials:
            time.sleep(0.05)
        return time.perf_counter() - started
    finally:
        server.end()


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
        ours, rays = _interleaved(load_s, folder.trials, root / "ray")
        served, rays_served = _interleaved(lambda place: served_s(place, trials), folder.trials, root / "ray")
        feel = page_feel(folder.report)
        our_bytes, ray_bytes = bytes_below(folder.trials), bytes_below(root / "ray")
        print(
            table(
                ["what", "ours", "TBXLoggerCallback"],
                [
                    ["event files", f"{our_bytes / 1e6:.1f} MB", f"{ray_bytes / 1e6:.1f} MB"],
                    ["its reader loads them, CPU", f"{ours:.2f} s", f"{rays:.2f} s"],
                    ["from `tensorboard` to all trials served", f"{served:.1f} s", f"{rays_served:.1f} s"],
                    ["summary/ of the report", f"{bytes_below(folder.summary) / 1e6:.1f} MB", "-"],
                    ["report.html", f"{size / 1e6:.2f} MB, {report_s:.1f} s", "-"],
                    ["opened in Chromium", f"{feel.load_ms:.0f} ms", "-"],
                    [
                        "pointer over curves, median, worst",
                        f"{feel.hover_ms:.1f} ms, {feel.worst_hover_ms:.1f} ms",
                        "-",
                    ],
                    ["all rows shown; a column sorted", f"{feel.unfold_ms:.0f} ms; {feel.sort_ms:.0f} ms at most", "-"],
                    ["rows filtered", f"{feel.filter_ms:.0f} ms", "-"],
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
                judge("ms of a move over the curves", ours=feel.hover_ms, peer=FLUID_HOVER_MS, target=1.0,
                      smaller_is_better=True),
                judge("ms of a sort", ours=feel.sort_ms, peer=FLUID_SORT_MS, target=1.0, smaller_is_better=True),
            ],
            report_s=round(report_s, 2),
        )  # fmt: skip


def _interleaved(measure: Callable[[Path], float], ours: Path, rays: Path) -> tuple[float, float]:
    """The shortest of three measurements of each, in turns, so that a busy machine is busy for both."""
    times = [(measure(ours), measure(rays)) for _ in range(3)]
    return min(first for first, _ in times), min(second for _, second in times)


def _timed_report(folder: StudyFolder, experiment: object) -> float:
    started = time.perf_counter()
    write_study_report(folder, experiment)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
