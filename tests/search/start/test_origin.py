"""Archives of one name never mix in one folder."""

import shutil
import zipfile
from pathlib import Path

import pytest

from carcls.demo.sample import write_sample
from search.cli.commands.init import init
from search.errors import StartError
from search.start.origin import ORIGIN_NAME
from search.start.sources import source_of, unpack_source
from search.start.survey import look


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 4 photos in the contest's layout."""
    root = tmp_path_factory.mktemp("start") / "cars"
    write_sample(root, classes=3, train_per_class=4, test_per_class=1)
    return root


def zipped(file: Path, cars: Path, labels: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for label in labels:
            for path in sorted((cars / "train" / label).iterdir()):
                archive.write(path, path.relative_to(cars))
    return file


def unpacked(archive: Path, into: Path) -> Path:
    source = source_of(archive, into=into)
    unpack_source(source, on_bytes=lambda done, total: None, say=lambda line: None)
    return source.photos


def test_two_archives_of_one_name_never_mix(cars, tmp_path):
    first, second = (
        zipped(tmp_path / name / "archive.zip", cars, labels) for name, labels in (("A", "01"), ("B", "2"))
    )
    there = unpacked(first, tmp_path / "data")
    files = sorted(there.rglob("*"))
    with pytest.raises(StartError, match=r"data/archive came from another archive\.zip of [\d,]+ bytes, not from"):
        unpacked(second, tmp_path / "data")
    assert sorted(there.rglob("*")) == files
    moved = first.rename(tmp_path / "archive.zip")
    assert unpacked(moved, tmp_path / "data") == there
    assert look(there, weights=(), reachable=lambda: False).photos == 8
    shutil.rmtree(there / "train")
    unpacked(second, tmp_path / "data")  # nothing is there that could mix
    assert sorted(path.name for path in (there / "train").iterdir()) == ["2"]


def test_a_folder_without_a_note_of_its_archive_takes_only_an_archive_of_its_photos(cars, tmp_path):
    archive = zipped(tmp_path / "A" / "archive.zip", cars, "01")
    there = unpacked(archive, tmp_path / "data")
    (there / ORIGIN_NAME).unlink()
    unpacked(archive, tmp_path / "data")
    (there / ORIGIN_NAME).unlink()
    shutil.copytree(cars / "train" / "2", there / "train" / "2")
    with pytest.raises(StartError, match=r"data/archive holds train/2/\S+\.jpg, which is not in archive\.zip"):
        unpacked(archive, tmp_path / "data")


def test_an_edited_table_beside_the_same_archives_is_no_other_archive(cars, tmp_path):
    table = zipped(tmp_path / "cars" / "train.zip", cars, "01").parent / "labels.csv"
    table.write_text("path,label\n")
    there = unpacked(table.parent, tmp_path / "data")
    table.write_text("path,label\n1.jpg,1\n")
    assert unpacked(table.parent, tmp_path / "data") == there
    assert (there / "labels.csv").read_text() == "path,label\n", "photos and tables that are there are kept"


def test_an_archive_added_beside_the_first_is_unpacked_too(cars, tmp_path):
    folder = zipped(tmp_path / "cars" / "train.zip", cars, "01").parent
    there = unpacked(folder, tmp_path / "data")
    zipped(folder / "more.zip", cars, "2")
    for _ in range(2):  # the note is that of both archives
        assert look(unpacked(folder, tmp_path / "data"), weights=(), reachable=lambda: False).photos == 12
    (folder / "more.zip").unlink()
    with pytest.raises(StartError, match=r"another more\.zip of .* and train\.zip of .*, not from train\.zip"):
        unpacked(folder, tmp_path / "data")
    assert there == tmp_path / "data" / "cars"


def test_an_archive_with_another_photo_of_one_name_is_refused(cars, tmp_path):
    there = unpacked(zipped(tmp_path / "A" / "archive.zip", cars, "01"), tmp_path / "data")
    photo = next((there / "train" / "0").iterdir())
    other = zipped(tmp_path / "B" / "archive.zip", cars, "2")
    with zipfile.ZipFile(tmp_path / "A" / "archive.zip") as old, zipfile.ZipFile(other, "a") as archive:
        for name in old.namelist():
            archive.writestr(name, old.read(name) + (b"!" if name.endswith(photo.name) else b""))
    told = (
        rf"came from another archive\.zip of .*: it holds train/0/{photo.name}, which is not in archive\.zip with its"
    )
    with pytest.raises(StartError, match=told):
        unpacked(other, tmp_path / "data")
    assert not (there / "train" / "2").exists()


def test_an_experiment_file_in_the_way_is_found_before_anything_is_unpacked(cars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = zipped(tmp_path / "A" / "archive.zip", cars, "01")
    Path("archive.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(StartError, match=r"archive\.yaml exists already"):
        init(archive)
    assert not Path("data").exists()
