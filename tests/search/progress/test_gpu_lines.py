"""What GPUs did: from a worker's message to the terminal, TensorBoard and the report."""

import json
from dataclasses import replace
from multiprocessing import Pipe

import pytest

from carcls.events import EpochReport
from carcls.system.nvml import GpuMeter, GpuUse
from search.policy.node_health import NodeHealth
from search.policy.records import TrialState
from search.progress.event_files import epoch_scalars
from search.progress.gpu_lines import gpu_lines, gpu_scalars, use_text
from search.progress.summary import Spent, summary_lines
from search.report.sections.gpu_panel import GpuRow, gpu_panel
from search.worker.child import _report
from search.worker.outbox import Outbox
from search.worker.segment import from_wire, to_wire
from tests.helpers.fake_nvml import FakeGpu, FakeNvml
from tests.helpers.search.trial_builders import epoch_report, trial

BUSY = GpuUse("0", "NVIDIA A100-SXM4-40GB", 0.9, 20480, 40960, 300.0, 70)
IDLE = GpuUse("1", "NVIDIA A100-SXM4-40GB", 0.1, 1024, 40960, 100.0, 40)
UNKNOWN = GpuUse("MIG-1", "MIG 1g.5gb", None, None, None, None, None)


def test_a_worker_sends_its_figures_with_each_epoch():
    driver, child = Pipe(duplex=False)
    outbox = Outbox(child)
    outbox.acknowledge()
    meter = GpuMeter(FakeNvml([FakeGpu("GPU-a", busy=(50,), used_mib=(2048,))]), ["0"])
    _report(outbox, meter, epoch_report(1))
    sent = driver.recv()
    assert [(use.busy, use.memory_mib) for use in sent.gpus] == [(0.5, 2048)]
    assert from_wire(to_wire(sent)) == sent, "also through Tune"


def test_reports_keep_their_figures_and_older_ones_have_none():
    report = replace(epoch_report(1), gpus=(BUSY, UNKNOWN))
    stored = json.loads(json.dumps(report.to_json()))
    assert EpochReport.from_json(stored) == report
    del stored["gpus"]
    assert EpochReport.from_json(stored).gpus == ()
    assert "gpus" not in epoch_report(1).to_json(), "nothing is added to studies on CPUs"


def test_the_terminal_tells_what_running_trials_do():
    records = [
        replace(trial(0, state=TrialState.RUNNING), reports=(replace(epoch_report(1), gpus=(BUSY,)),)),
        replace(trial(1, state=TrialState.RUNNING), reports=(replace(epoch_report(1), gpus=(IDLE,)),)),
        replace(trial(2, state=TrialState.COMPLETE), reports=(replace(epoch_report(1), gpus=(IDLE,)),)),
    ]
    line = "GPUs in use: 2 (NVIDIA A100-SXM4-40GB), 50 % busy, 20.0 of 40.0 GiB, 200 W, 70 °C"
    assert gpu_lines(records) == (line,)
    assert summary_lines("cars", records, Spent())[-1] == line
    assert gpu_lines([trial(0, state=TrialState.RUNNING)]) == ()


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ([BUSY], "90 % busy, 20.0 of 40.0 GiB, 300 W, 70 °C"),
        ([UNKNOWN], "no figures"),
        ([UNKNOWN, replace(UNKNOWN, temperature_c=55)], "55 °C"),
    ],
)
def test_figures_that_are_unknown_are_left_out(uses, expected):
    assert use_text(uses) == expected


def test_tensorboard_has_a_curve_for_each_figure():
    report = replace(epoch_report(1), gpus=(BUSY, IDLE))
    found = gpu_scalars(report)
    assert found == pytest.approx(
        {"gpu/busy": 0.5, "gpu/memory_gib": 20.0, "gpu/power_w": 200.0, "gpu/temperature_c": 70}
    )
    assert found.items() <= epoch_scalars(report).items()
    assert gpu_scalars(replace(report, gpus=(UNKNOWN,))) == {}
    assert not any(tag.startswith("gpu/") for tag in epoch_scalars(epoch_report(1)))


def test_the_report_has_a_row_for_each_stage_and_names_failing_gpus():
    head = replace(epoch_report(1), gpus=(IDLE,))
    top = replace(epoch_report(2, stage=1), gpus=(BUSY,))
    failing = NodeHealth("GPU 3 of a", "GPU 3 of a", faults=2, cause="GPU has fallen off the bus")
    panel = gpu_panel([replace(trial(0, TrialState.COMPLETE), reports=(head, top))], [top], [failing])
    assert panel is not None
    assert panel.rows == (
        GpuRow(head.stage_name, BUSY.name, 1, use_text([IDLE])),
        GpuRow(top.stage_name, BUSY.name, 1, use_text([BUSY])),
        GpuRow(f"{top.stage_name}, final training", BUSY.name, 1, use_text([BUSY])),
    )
    assert panel.failing == ("GPU 3 of a: left out, 2 faults in a row: GPU has fallen off the bus",)
    assert gpu_panel([trial(0, TrialState.COMPLETE)], [], []) is None
