"""Tables of aligned columns."""

from search.terminal.text_table import table_lines


def test_columns_are_aligned_and_no_line_ends_in_a_space() -> None:
    rows = [("name", "count", "of"), ("a long name", "7", "x"), ("b", "1,234", "")]
    assert table_lines(rows, left=(0, 2)) == [
        "name         count  of",
        "a long name      7  x",
        "b            1,234",
    ]
    assert table_lines(rows)[1] == "a long name      7   x"


def test_rows_are_never_wrapped_and_brackets_are_no_markup() -> None:
    (line,) = table_lines([("[bold]" + "x" * 500, "1")])
    assert line == "[bold]" + "x" * 500 + "  1"


def test_nothing_has_no_lines() -> None:
    assert table_lines([]) == []
