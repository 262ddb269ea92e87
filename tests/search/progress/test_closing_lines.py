"""Why a search ended, and how to extend it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.experiment.search_settings import BudgetSettings, SearchSettings
from search.progress.closing_lines import reached_limits, settings_text


def settings(trials: int = 4, **budget: float) -> SearchSettings:
    return SearchSettings(trials=trials, budget=BudgetSettings(**budget))


@pytest.mark.parametrize(
    ("limits", "used", "keys"),
    [
        (settings(), {"trials": 4}, ["search.trials"]),
        (settings(hours=2.0), {"trials": 4, "hours": 1.0}, ["search.trials"]),
        (settings(hours=2.0), {"trials": 3, "hours": 2.1, "exhausted": True}, ["search.budget.hours"]),
        # What is left of them is kept for the finals.
        (settings(hours=2.0), {"trials": 3, "hours": 1.2, "exhausted": True}, ["search.budget.hours"]),
        (settings(gpu_hours=2.0), {"trials": 3, "gpu_hours": 2.0, "exhausted": True}, ["search.budget.gpu_hours"]),
        (
            settings(hours=9.0, gpu_hours=2.0),
            {"trials": 3, "hours": 3.0, "gpu_hours": 1.9, "exhausted": True},
            ["search.budget.gpu_hours"],
        ),
        # More trials alone would train nothing: both are to be raised.
        (settings(hours=2.0), {"trials": 4, "hours": 2.1, "exhausted": True}, ["search.budget.hours", "search.trials"]),
        (settings(), {"trials": 3}, []),
    ],
)
def test_the_limits_that_ended_it_are_named_and_no_others(limits, used, keys) -> None:
    asked = {"trials": 0, "hours": 0.0, "gpu_hours": 0.0, "exhausted": False, **used}
    found = reached_limits(limits, **asked)
    assert [key for key, _ in found] == keys
    assert all(key in clause for key, clause in found)


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_settings_are_one_line_whatever_they_are(params) -> None:
    text = settings_text(params)
    assert "\n" not in text
    assert "\x1b" not in text


def test_settings_are_told_in_full() -> None:
    params = {f"train.stages.s{number}.learning_rate": 1e-3 * number for number in range(1, 20)}
    text = settings_text(params)
    assert all(f"{name}={value:.4g}" in text for name, value in params.items())
