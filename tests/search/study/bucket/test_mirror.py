"""What changes in a study's folder comes to the bucket, and what changes there comes to the folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search.errors import StudyError
from search.study.bucket.mirror import StudyMirror
from search.study.record.journal import WriterLock

Machine = Callable[[str], StudyMirror]


def write(mirror: StudyMirror, **files: str) -> None:
    """Files of a study; `__` in a name stands for `/`, and every name ends in `.txt`."""
    for name, text in {"experiment": "name: cars", **files}.items():
        path = mirror.root / (name.replace("__", "/") + (".yaml" if name == "experiment" else ".txt"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def here(mirror: StudyMirror) -> dict[str, str]:
    return {
        path.relative_to(mirror.root).as_posix(): path.read_text()
        for path in sorted(mirror.root.rglob("*.txt"))
        if path.is_file()
    }


def test_another_machine_gets_what_one_has_stored(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one, a="1", trials__0000__b="2")
    one.push()
    two.pull()
    assert here(two) == {"a.txt": "1", "trials/0000/b.txt": "2"}


def test_changes_and_deletions_are_stored_and_brought(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one, a="1", b="2")
    one.push()
    two.pull()
    write(one, a="longer")
    (one.root / "b.txt").unlink()
    one.push()
    assert sorted(one.bucket.files()) == ["a.txt", "experiment.yaml"]
    two.pull()
    assert here(two) == {"a.txt": "longer"}


def test_only_what_changed_is_stored(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machine("one")
    write(one, trials__0000__a="1", trials__0001__a="1")
    one.push()
    stored: list[str] = []
    put = one.bucket.put
    monkeypatch.setattr(one.bucket, "put", lambda name, content: stored.append(name) or put(name, content))
    write(one, trials__0000__a="22", trials__0001__a="22", b="3")
    one.push("trials/0001")
    assert stored == ["trials/0001/a.txt"]
    one.push()
    assert sorted(stored) == ["b.txt", "experiment.yaml", "trials/0000/a.txt", "trials/0001/a.txt"]


def test_a_change_of_this_machine_that_is_not_stored_yet_stays(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one, a="1")
    one.push()
    two.pull()
    write(two, a="mine", new="2")
    two.pull()
    assert here(two) == {"a.txt": "mine", "new.txt": "2"}
    two.push()
    one.pull()
    assert here(one) == {"a.txt": "mine", "new.txt": "2"}


def test_readers_may_leave_checkpoints_there_and_delete_none(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one)
    checkpoint = one.root / "trials" / "0000" / "attempt-0" / "epoch-0001.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    one.push()
    two.pull(checkpoints=False)
    assert not (two.root / "trials").exists()
    write(two, report="page")
    two.push()
    assert sorted(two.bucket.files()) == ["experiment.yaml", "report.txt", "trials/0000/attempt-0/epoch-0001.npz"]
    two.pull()
    assert (two.root / "trials/0000/attempt-0/epoch-0001.npz").read_bytes() == b"weights"


def test_a_folder_that_a_driver_works_in_is_left_alone(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one, a="1")
    one.push()
    two.pull()
    write(one, a="22", retrain__b="3")
    one.push()
    lock = WriterLock.acquire(two.root)
    two.pull()
    assert here(two) == {"a.txt": "1", "retrain/b.txt": "3"}
    two.pull(writer="")
    assert here(two) == {"a.txt": "22", "retrain/b.txt": "3"}
    lock.release()


def test_a_final_training_beside_is_left_alone_while_it_runs(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one, a="1", **{"retrain-0003__b": "2"})
    one.push()
    two.pull()
    write(one, a="22", **{"retrain-0003__b": "33"})
    one.push()
    lock = WriterLock.acquire(two.root / "retrain-0003")
    two.pull()
    assert here(two) == {"a.txt": "22", "retrain-0003/b.txt": "2"}
    two.pull(writer="retrain-0003/")
    assert here(two) == {"a.txt": "22", "retrain-0003/b.txt": "33"}
    lock.release()


def test_a_new_study_replaces_all_of_the_old_one(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    write(one, a="1", b="2")
    (one.root / "study.log").write_bytes(b"old\n" * 9)
    one.publish()
    two.pull()
    write(two, a="new")
    (two.root / "b.txt").unlink()
    (two.root / "study.log").write_bytes(b"new\n")
    two.publish()
    three = machine("three")
    three.pull()
    assert here(three) == {"a.txt": "new"}
    assert (three.root / "study.log").read_bytes() == b"new\n"


def test_a_name_that_leaves_the_folder_is_refused(machine: Machine, tmp_path: Path) -> None:
    one = machine("one")
    write(one)
    one.push()
    one.bucket.put("a\tb.txt", b"x")
    with pytest.raises(StudyError, match=r"not a file of a study: 'a\\tb.txt'"):
        machine("two").pull()
    assert not list((tmp_path / "two" / "cars").glob("a*"))


def test_what_a_worker_stored_comes_down_and_what_was_deleted_here_stays_deleted(machine: Machine) -> None:
    driver, node = machine("driver"), machine("node")
    write(driver, trials__0000__events="1")
    driver.push()
    for name, text in {
        "attempt-0/epoch-0001.npz": "a",
        "attempt-0/best-0001.npz": "b",
        "events.txt": "an old one",
    }.items():
        node.bucket.put(f"trials/0000/{name}", text.encode())
    node.bucket.put("trials/0001/attempt-0/epoch-0001.npz", b"of another trial")
    driver.bring("trials/0000")
    attempt = driver.root / "trials" / "0000" / "attempt-0"
    assert {path.name: path.read_text() for path in attempt.iterdir()} == {"epoch-0001.npz": "a", "best-0001.npz": "b"}
    assert here(driver) == {"trials/0000/events.txt": "1"}, "the driver's own file"
    assert not (driver.root / "trials" / "0001").exists()

    (attempt / "epoch-0001.npz").unlink()
    driver.bring("trials/0000")
    assert not (attempt / "epoch-0001.npz").exists()
    driver.push("trials/0000")
    assert "trials/0000/attempt-0/epoch-0001.npz" not in node.bucket.files()
    assert node.bucket.get("trials/0000/attempt-0/best-0001.npz") == b"b", "it was not stored again, nor deleted"
