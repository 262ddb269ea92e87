import errno
import os
import stat

import pytest

from carcls.errors import DataError
from carcls.system.atomic import is_full_disk, published, unreachable_cause, write_text
from tests.helpers.small_disk import run_on_a_small_disk


def test_a_file_appears_when_the_block_ends_and_keeps_its_suffix(tmp_path):
    target = tmp_path / "new" / "model.keras"
    with published(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".keras")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_after_an_error_only_the_old_file_remains(tmp_path):
    target = tmp_path / "submission.csv"
    target.write_text("old")

    def write_half():
        with published(target) as temporary:
            temporary.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_what_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        with published(tmp_path / "a.csv") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o640


def test_text_is_written_as_it_stands(tmp_path):
    target = tmp_path / "split.csv"
    write_text(target, "é\r\n" + b"\xff.jpg".decode("utf-8", "surrogateescape") + "\n")  # not valid UTF-8
    assert target.read_bytes() == "é\r\n".encode() + b"\xff.jpg\n"


def test_a_full_disk_is_named_and_keeps_the_old_file(tmp_path):
    told = run_on_a_small_disk(
        "from pathlib import Path\n"
        "from carcls.system.atomic import published, full_disk_cause, is_full_disk\n"
        "target = Path('epoch-0001.npz')\n"
        "target.write_bytes(bytes(600_000))\n"
        "try:\n"
        "    with published(target) as temporary:\n"
        "        temporary.write_bytes(bytes(600_000))\n"
        "except OSError as error:\n"
        "    print(error)\n"
        "    print(is_full_disk(error), full_disk_cause(RuntimeError()) is None)\n"
        "    try:\n"
        "        raise ValueError\n"
        "    except ValueError as later:\n"
        "        print(full_disk_cause(later) is error)\n"
        "print(target.stat().st_size, [path.name for path in Path().iterdir()])\n",
        tmp_path,
        size="1m",
    ).splitlines()
    assert told[0] == (
        "epoch-0001.npz: no room left on its disk (No space left on device; 0.4 MB free): free some space there"
    )
    assert told[1:] == ["True True", "True", "600000 ['epoch-0001.npz']"]


def test_other_disk_errors_are_not_full_disk(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError) as caught, published(tmp_path / "file" / "a.csv"):
        pass
    assert not is_full_disk(caught.value)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_share_that_cannot_sync_folders_is_accepted(tmp_path, monkeypatch, number) -> None:
    """Some network shares cannot sync folders and say so. A failing disk is still an error."""
    fsync, files = os.fsync, []

    def refusing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        files.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error") as caught:
            write_text(tmp_path / "a", "whole")
        assert caught.value.filename == str(tmp_path)
    else:
        write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole"
    assert len(files) == 1


def test_a_file_that_does_not_sync_is_named(tmp_path, monkeypatch) -> None:
    def refusing(descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refusing)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        write_text(tmp_path / "a", "whole")
    assert caught.value.filename is not None
    assert list(tmp_path.iterdir()) == []


def test_no_tree_is_made_where_a_file_system_is_away(tmp_path):
    with pytest.raises(FileNotFoundError), published(tmp_path / "away" / "0000" / "attempt-0" / "a.npz") as temporary:
        temporary.write_bytes(b"lost")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(errno.ESTALE, "stale"), True),
        (FileNotFoundError(errno.ENOENT, "gone"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (OSError(errno.ENOMEM, "no memory"), False),
        (OSError("no number"), False),
        (ValueError("no file"), False),
        (None, False),
    ],
)
def test_temporary_faults_are_distinguished_from_errors(error, found):
    assert unreachable_cause(error) is (error if found else None)
    later = DataError("cannot be read")
    later.__cause__ = error
    assert unreachable_cause(later) is (error if found else None), "also behind an error of ours"
