"""split.csv and quarantine.csv are checked against the study; damage is reported with its line."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.errors import DataError
from search.errors import StudyError
from search.study.checked_files import check_files, check_folder, keep_files, problems, split_digest
from search.study.fingerprint import Fingerprint
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.study.study import Study
from tests.helpers.mutations import mutated

SPLIT = (
    b"Id,path,Category,digest,fold\n"
    b"1.jpg,train/0/1.jpg,0,00ff,train\n"
    b"2.jpg,train/0/2.jpg,0,01ff,validation\n"
    b"3.jpg,train/1/3.jpg,1,02ff,train\n"
)
QUARANTINE = b"Id,path,reason\n4.jpg,train/0/4.jpg,cut off\n"


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A closed study with its two files."""
    made = StudyFolder(tmp_path)
    made.split.write_bytes(SPLIT)
    made.quarantine.write_bytes(QUARANTINE)
    with Study.create(tmp_path, "cars") as study:
        keep_files(study, made)
    return made


def said(folder: StudyFolder) -> tuple[str, ...]:
    return tuple(problems(Study.open(folder.root, read_only=True), folder))


def test_unchanged_files_have_no_problems(folder: StudyFolder) -> None:
    assert said(folder) == ()
    check_folder(folder)


def test_damaged_files_are_reported_with_their_line(folder: StudyFolder) -> None:
    folder.split.write_bytes(SPLIT.replace(b"01ff", b"01fe"))
    folder.quarantine.write_bytes(QUARANTINE.replace(b"off", b"oof"))
    told = "damaged (not as the study made it): put back a copy of this file"
    assert said(folder) == (f"{folder.split}, line 3: {told}", f"{folder.quarantine}, line 2: {told}")
    with pytest.raises(StudyError, match=r"split\.csv, line 3: damaged .*\n.*quarantine\.csv, line 2: damaged"):
        check_files(Study.open(folder.root, read_only=True), folder)


def test_an_unreadable_file_differs_from_a_damaged_one(folder: StudyFolder) -> None:
    folder.split.unlink()
    assert said(folder) == (f"{folder.split}: cannot be read: No such file or directory: put it back",)


def test_a_study_of_an_older_version_has_no_fingerprints(tmp_path: Path) -> None:
    Study.create(tmp_path, "cars").close()
    study, folder = Study.open(tmp_path, read_only=True), StudyFolder(tmp_path)
    assert tuple(problems(study, folder)) == ()
    assert split_digest(study) == ""
    folder.split.write_bytes(SPLIT)
    assert read_study_split(folder, tmp_path, "").train.ids == ("1.jpg", "3.jpg")


def test_the_folder_of_a_recipe_is_not_checked(tmp_path: Path) -> None:
    check_folder(StudyFolder(tmp_path))


def test_a_trial_refuses_a_changed_split(folder: StudyFolder) -> None:
    digest = split_digest(Study.open(folder.root, read_only=True))
    assert read_study_split(folder, folder.root, digest).validation.digests == ("01ff",)
    folder.split.write_bytes(SPLIT.replace(b"2.jpg,train/0/2.jpg", b"2.jpg,train/0/3.jpg"))
    with pytest.raises(DataError, match=r"split\.csv: damaged"):
        read_study_split(folder, folder.root, digest)
    folder.split.unlink()
    with pytest.raises(DataError, match=r"split\.csv: cannot be read: No such file"):
        read_study_split(folder, folder.root, digest)


@given(content=mutated([SPLIT]))
def test_damage_is_reported_exactly_for_changed_files(content: bytes) -> None:
    kept = Fingerprint.from_text(Fingerprint.of(SPLIT).to_text())
    assert (kept.damage(content) is None) == (content == SPLIT)


@given(place=st.integers(0, len(SPLIT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_in_its_line(place: int, bit: int) -> None:
    flipped = bytearray(SPLIT)
    flipped[place] ^= 1 << bit
    line = SPLIT[:place].count(b"\n") + 1
    assert Fingerprint.of(SPLIT).damage(bytes(flipped)) == f"line {line}"


def test_added_and_missing_lines_are_reported() -> None:
    kept = Fingerprint.of(SPLIT)
    assert kept.damage(SPLIT + b"x\n") == "line 5"
    assert kept.damage(SPLIT + b"\n") == "line 6, which was added"
    assert kept.damage(SPLIT[: SPLIT.rindex(b"3.jpg,train")]) == "line 4"
    assert kept.damage(SPLIT[:-1]) == "line 5, which is missing"
    assert kept.damage(b"") == "line 1"


def test_a_damaged_split_stops_resume_submit_and_report_and_status_warns(finished, tmp_path: Path) -> None:
    from tests.helpers.search.processes import run_cli

    root = tmp_path / "results" / "tiny"
    shutil.copytree(finished.folder.root, root)
    split = root / "split.csv"
    split.write_bytes(split.read_bytes().replace(b",validation,", b",train,", 1))
    line = next(n for n, (a, b) in enumerate(zip(finished.folder.split.open(), split.open(), strict=True), 1) if a != b)
    told = f"{split}, line {line}: damaged (not as the study made it): put back a copy of this file"
    status = run_cli("status", str(root), cwd=tmp_path)
    assert (status.returncode, status.stderr.splitlines()) == (0, [f"warning: {told}"])
    for command in ("report", "retrain"):
        done = run_cli(command, str(root), cwd=tmp_path)
        assert (done.returncode, done.stderr.splitlines()) == (2, [f"carsearch: {told}"])
    resumed = run_cli("resume", str(root), "--set", "search.trials=5", cwd=tmp_path)
    assert (resumed.returncode, resumed.stderr.splitlines()[-1]) == (2, f"carsearch: {told}")
