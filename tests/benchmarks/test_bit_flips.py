from pathlib import Path

import pytest

from benchmarks.bit_flips import ENDS, measure, targets
from carcls.store import damage

FLIPS = 120
"""`python -m benchmarks.bit_flips` makes 2,000 in each kind of file."""


@pytest.fixture(autouse=True)
def _nothing_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process has read of a damaged store is its own: later tests would be told of it."""
    monkeypatch.setattr(damage, "_opened", {})


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory):
    return {target.name: target for target in targets(tmp_path_factory.mktemp("whole"))}


@pytest.mark.parametrize(
    ("name", "noticed_at_least"),
    [
        # The name of the checksum's field in the last line: its entry is whole.
        ("study.log, read", FLIPS - 2),
        ("study.log, resumed", FLIPS - 2),
        ("split.csv", FLIPS),
        ("quarantine.csv", FLIPS),
        # Times and attributes of a zip file's entries may change, and nothing that it holds.
        ("checkpoint", FLIPS // 2),
        ("probabilities", FLIPS // 2),
        ("store, first use since boot", FLIPS),
        ("store verify", FLIPS),
    ],
)
def test_no_flipped_bit_is_read_in_silence_or_as_an_error_of_ours(
    kinds, tmp_path: Path, name: str, noticed_at_least: int
) -> None:
    counts = measure(kinds[name], flips=FLIPS, seed=7, scratch=tmp_path)
    assert (counts["silent"], counts["traceback"]) == (0, 0)
    assert counts["named"] + counts["mended"] >= noticed_at_least
    assert sum(counts.values()) == FLIPS
    assert tuple(counts) == ENDS
