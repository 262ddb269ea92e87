import os
import stat

import pytest

from carcls.atomic import published, write_text


def test_a_file_appears_when_the_block_ends_and_keeps_its_suffix(tmp_path):
    target = tmp_path / "new" / "model.keras"
    with published(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".keras")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_after_an_error_the_old_file_stands_and_nothing_is_left(tmp_path):
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
    write_text(target, "é\r\n" + b"\xff.jpg".decode("utf-8", "surrogateescape") + "\n")  # a name that is no UTF-8
    assert target.read_bytes() == "é\r\n".encode() + b"\xff.jpg\n"
