"""carsearch status --watch: shows a study's state until its search ends, from another process."""

import time
from typing import TYPE_CHECKING

from search.terminal.console import console

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.policy.records import TrialRecord
    from search.progress.summary import Spent
    from search.study.folder import StudyFolder

_LOOK_S = 2.0


def watch(folder: "StudyFolder", experiment: "Experiment", *, pause_s: float = _LOOK_S) -> None:
    """Redraws the live view, or prints lines without a terminal, until no driver runs; Ctrl-C ends it as well."""
    from search.progress.live_table import open_progress
    from search.study.driver_life import has_driver

    records, spent = _state(folder, experiment)
    with open_progress(console(), folder.name, records) as progress:
        progress.update(records, spent)
        seen = 0.0
        while has_driver(folder):
            try:
                time.sleep(pause_s)
                if (changed := folder.log.stat().st_mtime) != seen:
                    seen = changed
                    progress.update(*_state(folder, experiment))
            except KeyboardInterrupt:
                return
        progress.update(*_state(folder, experiment))


def _state(folder: "StudyFolder", experiment: "Experiment") -> "tuple[tuple[TrialRecord, ...], Spent]":
    from dataclasses import replace

    from search.driver.callbacks import spent, stage_epochs
    from search.policy.records import TrialState
    from search.study.study import Study

    study = Study.open(folder.root, read_only=True)
    records = study.records()
    used = spent(experiment, trained_s=study.trained_s, elapsed_s=study.elapsed_s, gpus=study.gpu_meter)
    running = [record.number for record in records if record.state is TrialState.RUNNING]
    return records, replace(used, planned={number: stage_epochs(study, number) for number in running})
