"""The short form of `make fuzz`: some tries of every kind of file, and the counting itself."""

import json
from pathlib import Path
from random import Random

import pytest

from benchmarks.fuzz.__main__ import table
from benchmarks.fuzz.data_kinds import data_kinds
from benchmarks.fuzz.kind import ENDS, Kind, SilentError
from benchmarks.fuzz.measure import Figures, measure, tries
from benchmarks.fuzz.mutations import changed_tree, flipped, mutated
from benchmarks.fuzz.study_kinds import study_kinds
from carcls.errors import DataError

TRIES = 30
"""`make fuzz` makes 2,000 of each kind, or as many as half a minute has room for."""
SEED = 3

DATA = ("experiment files", "tables of labels", "photos", "archives", "policies, bytes", "policies, values")
STUDIES = ("journals, read", "journals, resumed", "splits", "lists of photos left out")
MODELS = (
    *("models, bytes", "models, config.json", "models, weights inside"),
    *("weights, .h5", "weights, .weights.h5", "weights, .npz", "checkpoints"),
)


def assert_all_ended_well(kind: Kind, count: int, scratch: Path) -> None:
    figures = measure(kind, count=count, seconds=300.0, seed=SEED, scratch=scratch)
    assert figures.bad == []
    assert figures.tried == count
    assert figures.ends["refused"] + figures.ends["harmless"] == count
    assert figures.ends["refused"] > 0
    assert figures.worst_mb < 1500


@pytest.mark.parametrize("name", DATA)
def test_what_users_bring_is_read_or_refused(tmp_path, name):
    kinds = {kind.name: kind for kind in data_kinds()}
    assert tuple(kinds) == DATA
    assert_all_ended_well(kinds[name], TRIES, tmp_path / "try")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return {kind.name: kind for kind in study_kinds(tmp_path_factory.mktemp("study"))}


@pytest.mark.parametrize("name", STUDIES)
def test_what_a_study_keeps_is_never_read_wrongly(tmp_path, studies, name):
    assert tuple(studies) == STUDIES
    assert_all_ended_well(studies[name], TRIES, tmp_path / "try")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from benchmarks.fuzz.model_kinds import model_kinds

    return {kind.name: kind for kind in model_kinds(tmp_path_factory.mktemp("models"))}


@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_strangers_are_read_or_refused(tmp_path, models, name):
    assert tuple(models) == MODELS
    assert_all_ended_well(models[name], 6, tmp_path / "try")


def read(content: bytes, folder: Path) -> bytes:
    """A reader with every way to end, by the first byte."""
    assert list(folder.iterdir()) == []
    (folder / "left").write_bytes(content)
    match content[:1]:
        case b"r":
            raise DataError("refused for a reason")
        case b"s":
            raise SilentError("written\noutside")
        case b"t":
            raise ZeroDivisionError("a bug")
    return content


def test_every_end_is_counted_and_the_bad_ones_are_named(tmp_path):
    kind = Kind("letters", [b"h"], lambda rng, whole: rng.choice((b"h", b"r", b"s", b"t")), read)
    figures = measure(kind, count=100, seconds=60.0, seed=0, scratch=tmp_path / "try")
    assert figures.tried == 100
    assert all(figures.ends[end] > 0 for end in ENDS)
    assert len(figures.bad) == figures.ends["silent"] + figures.ends["traceback"]
    assert any("traceback: ZeroDivisionError: a bug" in text for text in figures.bad)
    assert any("silent: written outside" in text for text in figures.bad)


def test_what_has_a_checksum_must_read_as_the_sound_file(tmp_path):
    kind = Kind("letters", [b"h", b"g"], lambda rng, whole: rng.choice((b"h", b"g")), read, equal=True)
    figures = measure(kind, count=60, seconds=60.0, seed=0, scratch=tmp_path / "try")
    assert figures.ends["silent"] > 0
    assert figures.ends["harmless"] > 0
    assert figures.ends["silent"] + figures.ends["harmless"] == 60


def test_a_try_is_the_same_whatever_came_before_it(tmp_path):
    seen: list[bytes] = []
    kind = Kind("words", [b"some words", b"others"], mutated, lambda content, folder: seen.append(content))
    first = [one.number for one in tries(kind, first=0, count=20, seconds=60.0, seed=5, scratch=tmp_path / "try")]
    whole, seen = seen[:], []
    kind = Kind("words", [b"some words", b"others"], mutated, lambda content, folder: seen.append(content))
    later = [one.number for one in tries(kind, first=12, count=20, seconds=60.0, seed=5, scratch=tmp_path / "try")]
    assert (first, later) == (list(range(20)), list(range(12, 20)))
    assert seen == whole[12:]
    assert len(set(whole)) > 15


def test_no_try_begins_after_the_time_is_up(tmp_path):
    kind = Kind("words", [b"word"], mutated, lambda content, folder: None)
    assert measure(kind, count=10, seconds=-1.0, seed=0, scratch=tmp_path / "try").tried == 0


def test_one_bit_is_one_bit():
    for number in range(50):
        found = flipped(
            Random(number),  # noqa: S311 - no secret
            b"some words",
        )
        assert sum((a ^ b).bit_count() for a, b in zip(found, b"some words", strict=True)) == 1


def test_a_tree_is_changed_and_the_whole_one_is_not():
    tree = {"a": [1, 2, {"b": None}], "c": {"d": "e"}}
    before = json.dumps(tree)
    changed = [changed_tree(Random(number), tree) for number in range(100)]  # noqa: S311 - no secret
    assert json.dumps(tree) == before
    assert len({json.dumps(one) for one in changed}) > 60
    assert sum(json.dumps(one) == before for one in changed) < 25


def test_the_table_tells_all_figures():
    figures = Figures("photos")
    figures.add(0, "refused", "", 0.26, 1234.4)
    figures.add(1, "harmless", "", 0.01, 3.0)
    assert table([figures]).splitlines()[2] == "| photos | 2 | 1 | 1 | 0 | 0 | 0.3 | 1,234 |"
