"""A child that aborted: whether its GPU did it is in the last lines of its output."""

import pytest

from search.study.folder import StudyFolder
from search.worker.gpu_faults import with_gpu_fault
from search.worker.segment import Outcome, Segment

ABORTED = Outcome("killed", "the trial's process died with exit code -6")
LINES = (
    "2026-11-29 06:00:00: E cuda_event.cc:29] failed to query event: CUDA_ERROR_LAUNCH_FAILED\n"
    "2026-11-29 06:00:00: F gpu_event_mgr.cc:206] Unexpected Event status: 1\n"
)


@pytest.fixture
def segment(tmp_path):
    def made(gpu_share: float | None, output: str | None) -> Segment:
        folder = StudyFolder(tmp_path)
        if output is not None:
            path = folder.root / folder.output_name(3, 1)
            path.parent.mkdir(parents=True)
            path.write_text(output)
        return Segment(str(tmp_path), 3, 1, {}, None, 0, "/data", 0, {}, 1, gpu_share, True)

    return made


def test_an_abort_after_a_device_error_is_the_gpus_fault(segment):
    found = with_gpu_fault(ABORTED, segment(1.0, "epoch 1\n" * 10_000 + LINES))
    assert found == Outcome("killed", f"{ABORTED.cause}: {LINES.splitlines()[0]}", gpu_fault=True)


@pytest.mark.parametrize(
    ("message", "gpu_share", "output"),
    [
        pytest.param(ABORTED, 1.0, "Segmentation fault\n", id="another death"),
        pytest.param(ABORTED, 1.0, None, id="no output"),
        pytest.param(ABORTED, None, LINES, id="trained on the CPU"),
        pytest.param(Outcome("failed", "ValueError: shapes"), 1.0, LINES, id="told its own cause"),
        pytest.param(ABORTED, 1.0, LINES + "x" * 20_000, id="long before its end"),
    ],
)
def test_other_ends_are_passed_on_as_they_are(segment, message, gpu_share, output):
    assert with_gpu_fault(message, segment(gpu_share, output)) is message
