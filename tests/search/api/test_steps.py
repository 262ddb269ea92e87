"""What a search or a final training does if its report cannot be written."""

import logging

import pytest

from carcls.errors import DiskFullError
from search.api.steps import write_report_or_warn
from search.errors import StudyError
from search.report import page
from search.study.folder import StudyFolder


def failing_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_study_report(*_: object) -> None:
        raise error

    monkeypatch.setattr(page, "write_study_report", write_study_report)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DiskFullError("report.html: no room left"), "report.html: no room left: without a report;"),
        (PermissionError(13, "Permission denied", "report.html"), "PermissionError: [Errno 13] Permission denied"),
        (ValueError("no such scale"), "ValueError: no such scale: without a report;"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "UnicodeDecodeError: 'utf-8' codec"),
    ],
)
def test_a_report_that_cannot_be_written_is_a_warning_with_the_command(error, said, tmp_path, monkeypatch, caplog):
    failing_with(error, monkeypatch)
    with caplog.at_level(logging.WARNING):
        write_report_or_warn(StudyFolder(tmp_path), None)  # type: ignore[arg-type] # the stand-in reads none
    assert said in caplog.text
    assert f"'carsearch report {tmp_path}' writes it" in caplog.text


@pytest.mark.parametrize("error", [StudyError("split.csv: damaged"), KeyError("fold")])
def test_a_damaged_study_and_a_fault_of_the_program_are_raised(error, tmp_path, monkeypatch):
    failing_with(error, monkeypatch)
    with pytest.raises(type(error)):
        write_report_or_warn(StudyFolder(tmp_path), None)  # type: ignore[arg-type]
