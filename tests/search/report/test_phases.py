"""Where the time of trials went, as a table on the page."""

import re
from dataclasses import fields, replace

from carcls.events import PhaseSeconds, StoreUse
from search.report.html import render
from tests.helpers.search.report_page import BASELINE, BEST, PRUNED, Page, data
from tests.helpers.search.trial_builders import climb

SPENT = PhaseSeconds(train=30.0, validate=6.0, build=1.0, trace=2.0, store=0.5, data_wait=0.5)
"""40 s in total."""


def spending(record, *uses):
    """The trial with epochs of 40 s each and this use of the store."""
    reports = [replace(report, seconds=SPENT, store=use) for report, use in zip(record.reports, uses, strict=True)]
    return replace(record, reports=tuple(reports))


def test_where_the_time_went():
    took, nothing = StoreUse(built=5, reused=1, built_s=9.5, saved_s=20.0), StoreUse()
    records = [BASELINE, spending(BEST, took, StoreUse(reused=209, saved_s=3700.0), nothing, nothing)]
    final = [replace(report, seconds=PhaseSeconds(train=9.0, validate=0.0, store=1.0)) for report in climb([0.5, 0.5])]
    time = data(records, retrain_reports=final).time
    assert (time.columns, time.totals_s) == (("All trials", "Winner", "Final training"), (171.25, 160.0, 20.0))
    table = {phase.name: [(cell.seconds, round(cell.share, 4)) for cell in phase.cells] for phase in time.phases}
    assert table == {
        "Training steps": [(129.0, 0.7533), (120.0, 0.75), (18.0, 0.9)],
        "Validation": [(25.5, 0.1489), (24.0, 0.15), (0.0, 0.0)],
        "Tracing": [(8.0, 0.0467), (8.0, 0.05), (0.0, 0.0)],
        "Building models": [(4.75, 0.0277), (4.0, 0.025), (0.0, 0.0)],
        "Store": [(2.0, 0.0117), (2.0, 0.0125), (2.0, 0.1)],
        "Waiting for batches": [(2.0, 0.0117), (2.0, 0.0125), (0.0, 0.0)],
    }
    assert time.store_lines == (
        "Store, all trials: 5 artefacts built in 9.5 s; finished ones reused 210 times, which saved about 1 h 02 min of"
        " computing.",
    )


def test_where_the_time_went_is_on_the_page():
    use = StoreUse(built=1, built_s=12.0)
    page = "\n".join(Page(render(data([spending(PRUNED, use)], retrain_reports=climb([0.5])))).texts)
    for text in (
        "Phase\nAll trials\nWinner\nFinal training\n",
        "Training steps\n30 s\n75.0 %\n30 s\n75.0 %\n3.0 s\n80.0 %\n",
        "Waiting for batches\n0.5 s\n1.2 %\n0.5 s\n1.2 %\n0.0 s\n0.0 %\n",
        "Total\n40 s\n40 s\n3.8 s\n",
        "Store, all trials: 1 artefact built in 12 s.",
        "Saved: the time it took to build the reused artefacts",
    ):
        assert re.sub(r"\s+", " ", text) in re.sub(r"\s+", " ", page)


def test_phases_that_no_epoch_had_and_a_store_that_was_not_used_are_not_shown():
    time = data().time
    assert [phase.name for phase in time.phases] == ["Training steps", "Validation", "Building models"]
    assert time.store_lines == ()
    page = render(data())
    assert "Waiting for batches" not in page
    assert "Saved:" not in page
    assert "Where the time went" not in render(data([replace(PRUNED, reports=())]))


def test_every_phase_is_on_the_page():
    """The table's sum would lack a forgotten phase."""
    spent = replace(SPENT, holdout=4.0)
    record = replace(PRUNED, reports=tuple(replace(report, seconds=spent) for report in PRUNED.reports))
    time = data([record]).time
    assert all(getattr(spent, phase.name) for phase in fields(spent)), "a phase without a time would be left out"
    assert sum(phase.cells[0].seconds for phase in time.phases) == spent.total == time.totals_s[0] == 44.0
