"""What a process checks of its node before its first segment."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from carcls.dataset.table import ImageTable
from carcls.splits.split import Split
from carcls.splits.split_files import write_split
from carcls.store.mirrors import mirror_folder
from search.worker import node_check
from search.worker.node_check import PHOTOS, VERSION, data_fingerprint, node_fault, requirements
from search.worker.segment import Segment


@pytest.fixture
def segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segment:
    monkeypatch.setattr(node_check, "_passed", set())
    study, data = tmp_path / "study", tmp_path / "data"
    for folder in (study, data):
        folder.mkdir()
    (data / "a.jpg").write_bytes(b"12")
    (study / "split.csv").write_text("Id,path,Category,digest,fold\na.jpg,a.jpg,0,00,train\n", encoding="utf-8")
    requires = requirements(study / "split.csv", data)
    return Segment(str(study), 0, 0, {}, None, 0, str(data), 0, {}, 1, None, True, requires=requires)


def test_a_node_with_the_same_files_passes_and_is_not_asked_again(segment: Segment) -> None:
    assert node_fault(segment) is None
    Path(segment.data_root, "a.jpg").unlink()
    assert node_fault(segment) is None, "from now on, its trainings report missing photos"


def test_missing_photos_are_named(segment: Segment) -> None:
    Path(segment.data_root, "a.jpg").unlink()
    fault = node_fault(segment)
    assert fault is not None
    assert fault.kind == "unfit"
    assert str(Path(segment.data_root, "a.jpg")) in str(fault.cause)


def test_a_photo_of_another_size_is_noticed(segment: Segment) -> None:
    before = data_fingerprint(Path(segment.study, "split.csv"), Path(segment.data_root))
    Path(segment.data_root, "a.jpg").write_bytes(b"123")
    assert data_fingerprint(Path(segment.study, "split.csv"), Path(segment.data_root)) != before
    assert "photos differ" in str(node_fault(segment).cause)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["@audi", "=a", "+a", "-a", "a\tb", "a\\b", "a\u202eb", "\udcff", "plain"])
def test_every_name_of_a_photo_is_found_as_it_is_on_disk(name: str, segment: Segment) -> None:
    root, split = Path(segment.data_root), Path(segment.study, "split.csv")
    (root / name).mkdir()
    paths = (f"{name}/1.jpg", f"{name}/{name}")
    for path in paths:
        (root / path).write_bytes(b"123")
    table = ImageTable(root, ("1", "2"), paths, np.zeros(2, np.int64), ("00", "01"))
    write_split(Split(("0",), table, table.select([])), split)
    same = replace(segment, requires=requirements(split, root))
    assert node_fault(same) is None
    assert requirements(split, root) == same.requires
    (root / paths[1]).write_bytes(b"1234")
    assert requirements(split, root) != same.requires


def test_another_version_is_told_with_both(segment: Segment) -> None:
    segment.requires[VERSION] = "0.0.0"
    assert str(node_fault(segment).cause) == (  # type: ignore[union-attr]
        f"has carsearch {version('carsearch')}, the driver 0.0.0: install the same version"
    )


def test_extra_photos_are_copied_or_missed_also_after_the_first_check(segment: Segment, tmp_path: Path) -> None:
    assert node_fault(segment) is None
    with_extra = replace(segment, extra_root=str(tmp_path / "more"), store={"root": str(tmp_path / "store")})
    fault = node_fault(with_extra)
    assert fault is not None
    assert (fault.kind, fault.cause) == ("unfit", f"data.extra: no such folder: {tmp_path / 'more'}")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.jpg").write_bytes(b"34")
    url = f"file://{tmp_path / 'more'}"
    assert node_fault(replace(with_extra, extra_root=url)) is None
    assert (mirror_folder(tmp_path / "store", url) / "files" / "b.jpg").read_bytes() == b"34"


def test_on_a_single_machine_nothing_is_checked(segment: Segment) -> None:
    segment.requires.clear()
    Path(segment.data_root, "a.jpg").unlink()
    assert node_fault(segment) is None
    assert PHOTOS not in segment.requires
