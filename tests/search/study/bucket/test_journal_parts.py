"""A journal in a bucket consists of pieces, which together are the journal."""

from collections.abc import Callable

import pytest

from search.errors import StudyError
from search.study.bucket import journal_parts
from search.study.bucket.journal_parts import JournalParts, joined
from search.study.bucket.mirror import StudyMirror

Machine = Callable[[str], StudyMirror]


@pytest.fixture
def one(machine: Machine) -> StudyMirror:
    mirror = machine("one")
    mirror.root.mkdir(parents=True)
    (mirror.root / "experiment.yaml").write_text("name: cars")
    mirror.push()
    return mirror


def append(mirror: StudyMirror, parts: JournalParts, text: str) -> None:
    log = mirror.root / "study.log"
    with log.open("a") as file:
        file.write(text)
    parts.send(log, log.stat().st_size)


def stored(machine: Machine) -> bytes:
    fresh = machine("fresh")
    fresh.pull()
    return (fresh.root / "study.log").read_bytes()


def test_each_change_stores_its_own_lines(one: StudyMirror, machine: Machine) -> None:
    parts = JournalParts(one.bucket, "study.log")
    parts.begin(one.root / "study.log")
    append(one, parts, "first\n")
    append(one, parts, "second\n")
    names = [f"study.log.parts/{begin:015d}" for begin in (0, 6)]
    assert [name for name in sorted(one.bucket.files()) if "log" in name] == names
    assert one.bucket.get(names[1]) == b"second\n"
    assert stored(machine) == b"first\nsecond\n"


def test_many_pieces_are_joined(one: StudyMirror, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_parts, "_MOST_PARTS", 3)
    parts = JournalParts(one.bucket, "study.log")
    parts.begin(one.root / "study.log")
    for number in range(8):
        append(one, parts, f"line {number}\n")
        assert len([name for name in one.bucket.files() if "log" in name]) <= 3
    assert stored(machine) == (one.root / "study.log").read_bytes()


def test_a_repaired_journal_replaces_the_torn_one(one: StudyMirror, machine: Machine) -> None:
    parts = JournalParts(one.bucket, "study.log")
    parts.begin(one.root / "study.log")
    append(one, parts, "first\n")
    append(one, parts, "torn")
    (one.root / "study.log").write_bytes(b"first\n")
    again = JournalParts(one.bucket, "study.log")
    again.begin(one.root / "study.log")
    append(one, again, "second\n")
    assert stored(machine) == b"first\nsecond\n"


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ({}, b""),
        ({0: b"ab", 2: b"c"}, b"abc"),
        ({0: b"abc", 2: b"c"}, b"abc"),
    ],
)
def test_pieces_that_fit_are_joined(parts: dict[int, bytes], whole: bytes) -> None:
    assert joined(parts, "s3://cars") == whole


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({0: b"ab", 3: b"d"}, "bytes 2 to 3 are missing"),
        ({0: b"abc", 2: b"x"}, "two drivers wrote byte 2"),
        ({0: b"abc", 2: b"cd"}, "two drivers wrote byte 2"),
    ],
)
def test_pieces_that_do_not_fit_are_named(parts: dict[int, bytes], problem: str) -> None:
    with pytest.raises(StudyError, match=f"s3://cars: {problem}"):
        joined(parts, "s3://cars")
