"""The live view of a scripted search, which ends at once: `python final_script.py`, for golden screens."""

import sys
from dataclasses import replace
from pathlib import Path

# Added by hand, because Python may leave the script's folder off its path.
sys.path.insert(0, str(Path(__file__).parents[3]))

from search.policy.records import TrialRecord, TrialState
from search.progress.live_table import LiveProgress
from search.progress.summary import Spent
from search.terminal.console import console, install_safe_streams, say
from tests.helpers.search.trial_builders import climb, trial

PARAMS = {"train.backbone": "Xception", "train.head.dropout": 0.25, "train.stages.head.learning_rate": 0.001}


def records() -> tuple[TrialRecord, ...]:
    """Every state of a trial once."""
    return (
        trial(0, TrialState.COMPLETE, climb([0.5], [0.625], [0.75]), params=PARAMS),
        trial(1, TrialState.PAUSED, climb([0.5]), params=PARAMS),
        trial(2, TrialState.COMPLETE, climb([0.625], [0.75], [0.875]), params=PARAMS),
        trial(3, TrialState.FAIL, climb([0.25]), params=PARAMS, cause="loss is NaN: at step 7", infeasible=True),
        replace(trial(4, TrialState.RUNNING, climb([0.75], [0.75]), params=PARAMS), stop_after_stage=2),
        replace(trial(5, TrialState.RUNNING, climb([0.25, 0.5])[:1], params=PARAMS), stop_after_stage=0),
    )


def main() -> None:
    install_safe_streams()
    now = records()
    say("before the view")
    with LiveProgress(console(), "cars", now[:-1], clock=None) as progress:
        planned = {4: (2, 1, 3), 5: (2, 1, 3)}
        spent = Spent(trials_limit=16, elapsed_s=1800.0, device_hours=0.75, device="trial", hours_limit=2.0)
        progress.update(now, replace(spent, planned=planned))
    say("after the view")


if __name__ == "__main__":
    main()
