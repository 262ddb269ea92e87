"""The epochs that the final training told."""

import json

from search.study.final_scores import read_reports
from tests.helpers.search.trial_builders import climb


def test_reports_are_read_without_a_line_cut_off_in_writing(tmp_path):
    path, told = tmp_path / "reports.jsonl", climb([0.5, 0.75])
    assert read_reports(path) == ()
    lines = [json.dumps(report.to_json()) + "\n" for report in told]
    path.write_text("".join(lines), encoding="utf-8")
    assert read_reports(path) == told
    path.write_text(lines[0] + lines[1][:-1], encoding="utf-8")
    assert read_reports(path) == told[:1]
    path.write_text(lines[0][:20], encoding="utf-8")
    assert read_reports(path) == ()
