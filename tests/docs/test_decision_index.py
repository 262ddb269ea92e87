"""The index of decisions lists every record."""

import re
from pathlib import Path

RECORDS = Path(__file__).parents[2] / "docs" / "decisions"


def test_every_record_is_listed_with_its_date_and_title() -> None:
    index = (RECORDS / "index.md").read_text(encoding="utf-8")
    files = sorted(path for path in RECORDS.glob("*.md") if path.name != "index.md")
    rows = []
    for path in files:
        heading, _, date, *_ = path.read_text(encoding="utf-8").splitlines()
        number, title = heading.removeprefix("# ").split(": ", 1)
        rows.append(f"| [{number}]({path.name}) | {date[:10]} | {title} |")
    assert re.findall(r"^\| \[\d{4}\].*$", index, re.MULTILINE) == rows
    assert re.findall(r"^\d{4}-\S+$", index, re.MULTILINE) == [path.stem for path in files]
