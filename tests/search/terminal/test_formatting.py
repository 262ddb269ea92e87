"""Values as text."""

import pytest

from search.terminal.formatting import size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (15_561, "15.6 kB"),
        (83_900_000, "83.9 MB"),
        (999_999_999, "1000.0 MB"),
        (2_342_000_000, "2.3 GB"),
    ],
)
def test_sizes_are_decimal(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
