"""A search's progress in a terminal and in a log."""

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from carcls.events import StoreUse
from search.policy.records import TrialRecord, TrialState
from search.progress.live_table import LiveProgress, PlainProgress, open_progress, print_status
from search.progress.search_events import event_lines
from search.progress.summary import Spent, best_trial, seconds_left, store_text
from search.terminal.formatting import duration_text, one_line, params_text, short_duration_text
from tests.helpers.search.trial_builders import climb, epoch_report, trial

RUNNING = trial(1, TrialState.RUNNING, climb([0.5, 0.75])[:1])
BASELINE = trial(0, TrialState.COMPLETE, climb([0.5], [0.625], [0.75]))
HOSTILE = "\x1b[2J[red]boom[/red]\nnext\r" + "x" * 300


def console(*, terminal: bool, width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, height=12, color_system=None)


def printed(records: tuple[TrialRecord, ...], spent: Spent, *, terminal: bool, width: int) -> list[str]:
    target = console(terminal=terminal, width=width)
    print_status(target, "cars", records, spent)
    return target.file.getvalue().splitlines()


def test_a_trial_tells_its_life():
    waiting = replace(trial(3, TrialState.WAITING, params={"train.head.dropout": 0.123456}), attempts=0)
    running = replace(waiting, state=TrialState.RUNNING, attempts=1)
    rung = replace(running, reports=(epoch_report(1, accuracy=0.5, ended=True),))
    paused = replace(rung, state=TrialState.PAUSED)
    promoted = replace(paused, state=TrialState.RUNNING, attempts=2)
    cut_off = replace(promoted, state=TrialState.WAITING)
    resumed = replace(cut_off, state=TrialState.RUNNING, attempts=3)
    lost = replace(resumed, state=TrialState.FAIL, cause="loss is NaN", infeasible=True)
    steps = [waiting, running, rung, paused, promoted, cut_off, resumed, lost]
    told = [event_lines(before, (after,)) for before, after in zip([(), *((s,) for s in steps)], steps, strict=False)]
    assert told == [
        (),
        ("trial 0003 started: head.dropout=0.1235",),
        ("trial 0003 ended stage head: validation accuracy 0.5000, log-loss 0.5000, 1 epoch at 96 px",),
        ("trial 0003 paused after 1 epoch",),
        ("trial 0003 promoted to stage 2/3",),
        ("trial 0003 was interrupted and waits to resume",),
        ("trial 0003 resumed in stage 2/3",),
        ("trial 0003 infeasible: loss is NaN",),
    ]


def test_several_changes_between_two_looks_come_in_order():
    assert event_lines((), (BASELINE,)) == (
        "trial 0000 started (baseline): batch_size=16",
        "trial 0000 ended stage head: validation accuracy 0.5000, log-loss 0.5000, 1 epoch at 96 px",
        "trial 0000 ended stage half: validation accuracy 0.6250, log-loss 0.3750, 2 epochs at 128 px",
        "trial 0000 ended stage full: validation accuracy 0.7500, log-loss 0.2500, 3 epochs at 160 px",
        "trial 0000 complete after 3 epochs; best accuracy 0.7500 (log-loss 0.2500)",
    )


def test_plain_lines_where_there_is_no_terminal():
    target = console(terminal=False, width=40)
    with open_progress(target, "cars", known=(RUNNING,)) as progress:
        assert isinstance(progress, PlainProgress)
        progress.update((RUNNING,), Spent())
        failed = replace(RUNNING, state=TrialState.FAIL, cause=HOSTILE)
        progress.update((failed,), Spent(elapsed_s=1800.0, hours_limit=2.0, trials_limit=8))
    lines = target.file.getvalue().splitlines()
    assert lines[0] == "cars: 1 running"
    assert lines[1].startswith("trial 0001 failed:  [2J[red]boom[/red] next xxx")
    assert lines[2:] == [
        "budget: 1 of 8 trials ended, 0.50 of 2 hours, 0.00 GPU-hours",
        "cars: 1 failed; best: no epoch finished yet",
    ]


def test_a_live_table_in_a_terminal():
    target = console(terminal=True)
    with open_progress(target, "cars") as progress:
        assert isinstance(progress, LiveProgress)
        progress.update((BASELINE, RUNNING), Spent())
    text = target.file.getvalue()
    assert "cars: 1 running, 1 complete" in text
    assert "0001" in text


@pytest.mark.parametrize("width", [20, 40, 63, 64, 200])
def test_any_width_and_many_trials_fit(width):
    many = tuple(replace(RUNNING, number=n, params={"train.backbone": HOSTILE}) for n in range(64))
    lines = printed(many, Spent(), terminal=True, width=width)
    assert len(lines) <= 12
    assert max(len(line) for line in lines) <= width
    assert not any("\x1b" in line for line in lines)


def test_status_without_a_terminal():
    spent = Spent(elapsed_s=3600.0, device_hours=0.5, device_hours_limit=16.0)
    assert printed((BASELINE, RUNNING), spent, terminal=False, width=40) == [
        "cars: 1 running, 1 complete",
        "best: trial 0000, best accuracy 0.7500 (log-loss 0.2500)",
        "budget: 1 trial ended, 1.00 hours, 0.50 of 16 GPU-hours",
        "trial 0001: stage 1/3 head, epoch 1, best accuracy 0.5000 (log-loss 0.5000)",
    ]
    assert printed((), Spent(), terminal=False, width=40)[0] == "cars: no trials yet"


def test_status_tells_what_the_store_spared():
    report = replace(RUNNING.reports[0], store=StoreUse(built=1, reused=2, built_s=3.0, saved_s=90.0))
    records = (BASELINE, replace(RUNNING, reports=(report,)))
    assert printed(records, Spent(), terminal=False, width=200)[3] == (
        "store: 1 artefact built in 3.0 s; finished ones reused 2 times, which saved about 2 min of computing"
    )


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (StoreUse(), None),
        (StoreUse(built=2, built_s=61.0), "2 artefacts built in 1 min"),
        (
            StoreUse(reused=1, saved_s=0.25),
            "no artefact built; finished ones reused 1 time, which saved about 0.2 s of computing",
        ),
        (StoreUse(built=1, built_s=10.0, reused=3), "1 artefact built in 10 s; finished ones reused 3 times"),
    ],
)
def test_the_stores_use_in_words(use, text):
    assert store_text(use) == text


def test_short_durations_have_a_tenth():
    assert [short_duration_text(seconds) for seconds in (0.04, 9.94, 10.4, 125.0)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "2 min",
    ]


def test_time_left_is_shown_only_if_measured():
    four = tuple(replace(BASELINE, number=number) for number in range(4))
    assert seconds_left(four, Spent(trials_limit=16)) is None
    assert seconds_left(four[:2], Spent(elapsed_s=100.0, trials_limit=16)) is None
    assert seconds_left(four, Spent(elapsed_s=100.0)) is None
    assert seconds_left(four, Spent(elapsed_s=100.0, trials_limit=16)) == 300.0
    assert seconds_left(four, Spent(elapsed_s=1800.0, trials_limit=16, hours_limit=1.0)) == 1800.0
    assert seconds_left(four, Spent(elapsed_s=100.0, device_hours=9.0, device_hours_limit=8.0)) == 0.0


def test_the_best_trial_is_the_earliest_of_equals_and_never_a_failed_one():
    failed = trial(2, TrialState.FAIL, climb([0.9]))
    later = replace(BASELINE, number=5)
    assert best_trial((later, failed, BASELINE, RUNNING)) is BASELINE
    assert best_trial((failed,)) is None


@settings(max_examples=50)
@given(st.text())
def test_text_from_outside_stays_on_one_line(text):
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 160


def test_values_for_people():
    assert params_text({"train.batch_norm": True, "seed": 3, "train.rate": 1.23456e-5}) == (
        "batch_norm=True seed=3 rate=1.235e-05"
    )
    assert [duration_text(s) for s in (42.0, 200.0, 7500.0)] == ["42 s", "3 min", "2 h 05 min"]
