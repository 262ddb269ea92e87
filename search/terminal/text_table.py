"""Plain tables of aligned columns, for output that may be piped."""

import io
from collections.abc import Sequence

_UNLIMITED = 1_000_000
"""Console width in columns at which rich never wraps or truncates a row."""


def table_lines(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """One line for each row, with columns two spaces apart and no trailing spaces.

    left: numbers of the left-aligned columns; all others are right-aligned.
    """
    if not rows:
        return []
    from rich.console import Console  # noqa: PLC0415 - only commands that print a table need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number in range(max(map(len, rows))):
        table.add_column(justify="left" if number in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    text = io.StringIO()
    Console(file=text, width=_UNLIMITED, color_system=None, legacy_windows=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]
