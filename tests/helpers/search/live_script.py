"""A search's live view without a search: `python live_script.py`, which waits for files in the current folder."""

import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

# Added by hand, because Python may leave the script's folder off its path.
sys.path.insert(0, str(Path(__file__).parents[3]))

from search.policy.records import TrialState
from search.progress.live_table import open_progress
from search.progress.summary import Spent
from search.terminal import logs
from search.terminal.console import console, install_safe_streams, say
from tests.helpers.search.trial_builders import climb, trial

RUNNING = trial(1, TrialState.RUNNING, climb([0.5, 0.75])[:1], params={"train.head.dropout": 0.25, "train.seed": 7})


def wait_for(name: str) -> None:
    while not Path(name).exists():
        time.sleep(0.02)


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # like `nohup`
    install_safe_streams()
    logs.setup()
    say("before the view")
    with open_progress(console(), "cars") as progress:
        progress.update((RUNNING,), Spent(trials_limit=8))
        wait_for("log")
        logging.getLogger("carcls.data").info("building features 126/698")
        logging.getLogger("search.driver").warning("search.budget.hours are used up")
        os.write(2, b"\ncarsearch: stopping after this epoch; Ctrl-C again stops now\n")
        wait_for("more")
        sys.stdout.write("printed by a library\n")
        sys.stdout.flush()
        os.write(1, b"written by a C library\n")
        progress.update((RUNNING, replace(RUNNING, number=2)), Spent(trials_limit=8))
        wait_for("end")
    say("after the view")


if __name__ == "__main__":
    main()
