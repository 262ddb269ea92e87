"""The report's section about GPUs."""

import re
from dataclasses import replace

from carcls.system.nvml import GpuUse
from search.policy.node_health import NodeHealth
from search.policy.records import TrialState
from search.report import report_data
from search.report.html import render
from tests.helpers.search.trial_builders import climb, trial

USE = GpuUse("0", "NVIDIA <T4>", 0.25, 2048, 15360, 60.0, 50)
ON_GPU = tuple(replace(report, gpus=(USE,)) for report in climb([0.4, 0.5], [0.6]))


def page(reports, *failing: NodeHealth) -> str:
    records = (trial(0, TrialState.COMPLETE, reports),)
    data = report_data(name="cars", experiment_text="", records=records, validation_photos=9, failing_gpus=failing)
    return re.sub(r"\s*<[^>]*>\s*", "|", render(data))


def test_each_stage_has_a_row_with_what_its_gpus_did() -> None:
    shown = page(ON_GPU)
    assert "|GPUs|" in shown
    use = "25 % busy, 2.0 of 15.0 GiB, 60 W, 50 °C"
    assert re.search(rf"head\|+NVIDIA &lt;T4&gt;\|+2\|+{use}\|", shown)
    assert re.search(rf"half\|+NVIDIA &lt;T4&gt;\|+1\|+{use}\|", shown)


def test_a_gpu_that_was_left_out_is_named_also_without_figures() -> None:
    shown = page(climb([0.5]), NodeHealth("GPU 3 of a", "GPU 3 of a", faults=2, cause="fallen <off> the bus"))
    assert "|GPU 3 of a: left out, 2 faults in a row: fallen &lt;off&gt; the bus|" in shown


def test_without_gpus_there_is_no_section() -> None:
    assert "|GPUs|" not in page(climb([0.5]))
