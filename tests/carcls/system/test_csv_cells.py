"""Cells of our CSV files are plain text for every program, and a split's cells round-trip."""

import csv
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carcls.dataset.table import ImageTable, Quarantined
from carcls.inspection.findings import ClassCount, Copies, Findings, Quantiles, Sizes, write_lists
from carcls.splits.split import Split
from carcls.splits.split_files import read_split, write_quarantine, write_split
from carcls.system.csv_cells import escape_cell, readable_cell, unescape_cell

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", " =1+1", "\uff1d1", "'=1", "-1.jpg"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Lada Kalina", "Lada Kalina"),
        ("Лада Калина", "Лада Калина"),
        ("-5", "-5"),
        ("+3.5", "+3.5"),
        ("a=b", "a=b"),
        ("'quoted'", "'quoted'"),
        ("=1+1", "'=1+1"),
        ("  @x", "'  @x"),
        ("\t=1", "\\x09=1"),
        ("-1.jpg", "'-1.jpg"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("a\nb\u2028c", "a\\x0ab\\u2028c"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"),
    ],
)
def test_a_cell_is_shown_as_text(text, shown):
    assert readable_cell(text) == shown


@given(st.text() | st.sampled_from(FORMULAS) | st.text("'=+-@\\xu0123 \t\x1b\u202e"))
@example("\\\\x1b")
@example("''=x")
@example("\\u0041")
def test_no_cell_is_obeyed_and_a_guarded_one_comes_back(text):
    for cell in (readable_cell(text), escape_cell(text)):
        assert not any(unicodedata.category(sign) == "Cc" for sign in cell)
        start = cell.lstrip(" ")
        assert start[:1] not in tuple("=@\uff1d\uff0b\uff0d\uff20")
        if start[:1] in tuple("+-"):
            float(start)
    assert unescape_cell(escape_cell(text)) == text


@given(st.text(st.characters(exclude_categories=["Cc", "Zl", "Zp", "Cs"], exclude_characters="\\'=+-@")))
def test_cells_of_older_files_are_unchanged(text):
    assert unescape_cell(text) == text


HOSTILE = ("=HYPERLINK(1).jpg", "\x1b]0;owned\x07.jpg", "-1.jpg", "a\\x1b.jpg", "'=1.jpg")


def table(root, ids):
    return ImageTable(
        root, ids, tuple(f"@SUM/{id_}" for id_ in ids), np.zeros(len(ids), np.int64), ("0" * 32,) * len(ids)
    )


def cells(path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [cell for row in csv.reader(file) for cell in row]


def assert_harmless(path):
    content = path.read_text(encoding="utf-8")
    assert "\x1b" not in content
    assert "\x07" not in content
    assert not [cell for cell in cells(path) if cell.lstrip(" ").startswith(tuple("=+-@"))]


def test_a_split_with_hostile_names_is_safe_and_round_trips(tmp_path):
    split = Split(("=class",), table(tmp_path, HOSTILE[:3]), table(tmp_path, HOSTILE[4:]), None)
    write_split(split, tmp_path / "split.csv")
    assert_harmless(tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", tmp_path) == split


def test_the_quarantine_is_safe_for_terminals_and_spreadsheets(tmp_path):
    entries = [Quarantined(id_, f"={id_}", f"-{id_}") for id_ in HOSTILE]
    write_quarantine(tmp_path / "quarantine.csv", entries)
    assert_harmless(tmp_path / "quarantine.csv")
    assert cells(tmp_path / "quarantine.csv")[3:6] == [f"'{sign}=HYPERLINK(1).jpg" for sign in ("", "=", "-")]


def test_the_lists_of_a_check_are_safe(tmp_path):
    one = Quantiles(1.0, 1.0, 1.0)
    findings = Findings(
        classes=(ClassCount("=class", 3, 1), ClassCount("@class", 3, 1)),
        test=0,
        sizes=Sizes(one, one, one, 1, 1, 1, ((1, 1, 1),), 9, ()),
        quarantined=tuple(Quarantined(id_, id_, "=reason") for id_ in HOSTILE),
        copies=(Copies(HOSTILE, ("=class", "@class"), exact=True, training=5, test=0),),
        fraction=0.2,
        warnings=(),
        trouble="",
    )
    write_lists(findings, tmp_path)
    for name in ("classes.csv", "duplicates.csv", "unusable.csv"):
        assert_harmless(tmp_path / name)
    assert cells(tmp_path / "classes.csv")[3:6] == ["'=class", "3", "1"]
