"""What 100, 1,000 and 10,000 trials cost: python -m benchmarks.scale, about 8 minutes on 2 cores.

Ours: opening a study, one decision with its proposal, one report through dispatcher, TensorBoard and progress lines,
`status`, the report page, and all that the driver does with 256 workers at once. Peers hold the same trials: Optuna's
RDB (SQLite) and journal storages, opened and asked by the same TPE, and Ray Tune's experiment state, which holds no
epochs but the last. Seconds are CPU seconds of one process, so that what else the machine does counts little.

`--into FOLDER` keeps studies and figures there, and a later call measures only what is missing.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import finish, judge, machine, quiet, table

quiet()

import optuna  # noqa: E402 - after `quiet`
from rich.console import Console  # noqa: E402 - after `quiet`

from benchmarks.grown_study import grow  # noqa: E402 - after `quiet`
from benchmarks.peers.tune_state import tune_state_costs  # noqa: E402 - after `quiet`
from benchmarks.worker_crowd import WorkerCrowd  # noqa: E402 - after `quiet`
from search.driver.callbacks import ProgressListener  # noqa: E402 - after `quiet`
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings  # noqa: E402 - after `quiet`
from search.experiment.experiment import Experiment  # noqa: E402 - after `quiet`
from search.policy.optuna_view import OptunaView  # noqa: E402 - after `quiet`
from search.policy.policy import Policy, search_policy  # noqa: E402 - after `quiet`
from search.policy.records import TrialState  # noqa: E402 - after `quiet`
from search.policy.scheduler import BudgetState  # noqa: E402 - after `quiet`
from search.progress.live_table import open_progress, print_status  # noqa: E402 - after `quiet`
from search.progress.summary import Spent  # noqa: E402 - after `quiet`
from search.progress.tensorboard import TensorBoardWriter  # noqa: E402 - after `quiet`
from search.report.page import write_study_report  # noqa: E402 - after `quiet`
from search.study.folder import StudyFolder  # noqa: E402 - after `quiet`
from search.study.frozen import open_experiment  # noqa: E402 - after `quiet`
from search.study.study import Study  # noqa: E402 - after `quiet`

SIZES = (100, 1000, 10000)
FLAT = 1.5
"""Recording an epoch may take so many times as long with the most trials as with the fewest."""
TARGETS = {"open": 1.5, "decide": 0.1, "crowd_next": 0.1, "status": 2.0, "page": 10.0}
"""Seconds at 10,000 trials."""
PAGE_TARGET_MB = 5.0
WORKERS, HAND_OUTS = 256, 64
"""Slots of the simulated executor, and the segments that it hands out while all of them are busy."""
RUNNING = 16
"""Trials that train when the measurement begins."""
_LABELS = {
    "open": "open the study, s",
    "decide": "decision and proposal, s",
    "report": "record one epoch, s",
    "crowd_report": "256 workers: record one epoch, s",
    "crowd_next": "256 workers: settle a segment, decide, hand out the next, s",
    "crowd_next_worst": "the slowest of 64, s",
    "status": "status, s",
    "page": "report page, s",
    "page_mb": "report page, MB",
    "log_mb": "journal, MB",
    "rdb_open": "Optuna RDB: load all trials, s",
    "rdb_ask": "Optuna RDB: ask, s",
    "journal_open": "Optuna journal: load all trials, s",
    "journal_ask": "Optuna journal: ask, s",
    "rdb_mb": "Optuna RDB, MB",
    "journal_mb": "Optuna journal, MB",
    "tune_save": "Ray Tune: write the experiment's state, s",
    "tune_open": "Ray Tune: restore it, s",
    "tune_mb": "Ray Tune: experiment's state, MB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="keep studies and figures here, and use those kept")
    parser.add_argument("--kept", action="store_true", help="with --into: show what was measured, and measure nothing")
    parser.add_argument(
        "--rdb-up-to",
        type=int,
        default=max(SIZES),
        metavar="TRIALS",
        help="no larger Optuna RDB, whose filling is slow",
    )
    parser.add_argument("--measure", nargs=2, metavar=("PART", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_PARTS[arguments.measure[0]](StudyFolder(Path(arguments.measure[1])))))
        return
    print(machine(), "\n")
    if arguments.into:
        arguments.into.mkdir(parents=True, exist_ok=True)
        parts = () if arguments.kept else tuple(_PARTS)
        figures = {size: _figures(arguments.into, size, arguments.rdb_up_to, parts) for size in arguments.sizes}
    else:
        with tempfile.TemporaryDirectory() as base:
            figures = {size: _figures(Path(base), size, arguments.rdb_up_to, tuple(_PARTS)) for size in arguments.sizes}
    aims = {**TARGETS, "page_mb": PAGE_TARGET_MB}
    rows = [
        [label, *(figures[size].get(name, "not run") for size in figures), aims.get(name, "")]
        for name, label in _LABELS.items()
    ]
    print(table(["trials", *(f"{size:,}" for size in figures), f"aim at {max(SIZES):,}"], rows))
    first, last = figures[min(figures)], figures[max(figures)]
    verdicts = [
        judge(_LABELS[name], ours=last[name], peer=target, target=1.0, smaller_is_better=True)
        for name, target in aims.items()
        if name in last
    ]
    flat = f"record one epoch with {max(figures):,} trials against {min(figures):,}"
    if "report" in first and "report" in last:
        verdicts.append(judge(flat, ours=last["report"], peer=first["report"], target=1 / FLAT, smaller_is_better=True))
    finish("scale", verdicts, figures={str(size): row for size, row in figures.items()})


def _figures(base: Path, size: int, rdb_up_to: int, parts: Sequence[str]) -> dict[str, float]:
    """The figures of one size: those kept in `base`, and those of these parts, which are kept there then."""
    folder, grown = StudyFolder(base / f"grown_{size}"), base / f"{size}-grown.json"
    if parts and not grown.exists():
        shutil.rmtree(folder.root, ignore_errors=True)
        grow(base, trials=size, running=min(RUNNING, size // 4))
        grown.write_text(json.dumps({"log_mb": folder.log.stat().st_size / 1e6}), encoding="utf-8")
    for part in parts:
        kept = base / f"{size}-{part}.json"
        if not kept.exists() and (part != "rdb" or size <= rdb_up_to):
            kept.write_text(json.dumps(_in_a_process(part, folder)), encoding="utf-8")
    found: dict[str, float] = {}
    for path in sorted(base.glob(f"{size}-*.json")):
        found.update(json.loads(path.read_text(encoding="utf-8")))
    return found


def _in_a_process(part: str, folder: StudyFolder) -> Mapping[str, float]:
    """One measurement in a fresh process, so that none profits from what another has loaded."""
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", part, str(folder.root)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: Mapping[str, float] = json.loads(output.rstrip().rpartition("\n")[2])
    return found


def _cpu_s(action: Callable[[], object], *, times: int = 1) -> float:
    started_s = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - started_s) / times


def _reading(folder: StudyFolder) -> dict[str, float]:
    experiment = open_experiment(folder)
    open_s = _cpu_s(lambda: Study.open(folder.root, read_only=True))
    console = Console(file=io.StringIO(), width=100)

    def status() -> None:
        study = Study.open(folder.root, read_only=True)
        print_status(console, folder.name, study.records(), Spent(elapsed_s=study.elapsed_s))

    status_s = _cpu_s(status)
    page_s = _cpu_s(lambda: write_study_report(folder, experiment))
    return {
        "open": open_s,
        "status": status_s,
        "page": page_s,
        "page_mb": folder.report.stat().st_size / 1e6,
    }


def _dispatcher(folder: StudyFolder, experiment: Experiment, study: Study, policy: Policy) -> StudyDispatcher:
    progress = open_progress(Console(file=io.StringIO(), width=100), folder.name, study.records())
    return StudyDispatcher(
        experiment,
        study,
        folder,
        policy=policy,
        worker=WorkerSettings(threads=1, gpu_share=None, store={}, deterministic=False),
        listeners=(ProgressListener(experiment, study, TensorBoardWriter(folder.root), progress),),
    )


def _driving(folder: StudyFolder) -> dict[str, float]:
    experiment = open_experiment(folder)
    with Study.open(folder.root) as study:
        policy, budget = search_policy(experiment), BudgetState(1000, exhausted=False)
        dispatcher = _dispatcher(folder, experiment, study, policy)
        running = [record for record in study.records() if record.state is TrialState.RUNNING]
        reports = iter(
            (record.number, replace(record.reports[-1], epoch=record.fidelity + 1, stage_ended=True))
            for record in running
        )
        dispatcher.report(*next(reports))  # the first one warms up
        report_s = _cpu_s(lambda: dispatcher.report(*next(reports)), times=10)

        def decide() -> None:
            policy.next_job(study.records(), budget)
            policy.propose(study.records())

        decide()  # the first proposal converts all records
        return {"report": report_s, "decide": _cpu_s(decide, times=5)}


def _crowd(folder: StudyFolder) -> dict[str, float]:
    """Changes the study: the last part."""
    experiment = open_experiment(folder)
    with Study.open(folder.root) as study:
        study.interrupt_running()
        crowd = WorkerCrowd(WORKERS, handed_out=HAND_OUTS)
        crowd.run(_dispatcher(folder, experiment, study, search_policy(experiment)))
    return crowd.figures()


def _tune(folder: StudyFolder) -> dict[str, float]:
    records = Study.open(folder.root, read_only=True).records()
    with tempfile.TemporaryDirectory() as base:
        return tune_state_costs(records, Path(base), _cpu_s)


def _optuna_rdb(folder: StudyFolder) -> dict[str, float]:
    return _optuna(folder, "rdb", _rdb)


def _optuna_journal(folder: StudyFolder) -> dict[str, float]:
    return _optuna(folder, "journal", _journal)


def _optuna(folder: StudyFolder, kind: str, storage: Callable[[Path], optuna.storages.BaseStorage]) -> dict[str, float]:
    space = open_experiment(folder).space
    trials = OptunaView(space, most=10**9).trials(Study.open(folder.root, read_only=True).records())
    with tempfile.TemporaryDirectory() as base:
        path = Path(base) / kind
        optuna.create_study(storage=storage(path), study_name="peer", direction="maximize").add_trials(trials)

        def load() -> None:
            study = optuna.load_study(study_name="peer", storage=storage(path))
            study.get_trials(deepcopy=False)

        open_s = _cpu_s(load)
        with warnings.catch_warnings(action="ignore"):  # `group` is experimental
            tpe = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=0)
        study = optuna.load_study(study_name="peer", storage=storage(path), sampler=tpe)
        ask_s = _cpu_s(lambda: space.suggest(study.ask()), times=3)
        return {f"{kind}_open": open_s, f"{kind}_ask": ask_s, f"{kind}_mb": path.stat().st_size / 1e6}


def _rdb(path: Path) -> optuna.storages.BaseStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{path}")


def _journal(path: Path) -> optuna.storages.BaseStorage:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


_PARTS: Mapping[str, Callable[[StudyFolder], Mapping[str, float]]] = {
    "reading": _reading,
    "driving": _driving,
    "rdb": _optuna_rdb,
    "journal": _optuna_journal,
    "tune": _tune,
    "crowd": _crowd,
}


if __name__ == "__main__":
    main()
