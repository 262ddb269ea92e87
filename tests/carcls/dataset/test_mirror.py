"""Photos in object storage are copied to a node once, whole, and as they are there."""

import hashlib
import io
import json
import logging
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from carcls.dataset import mirror
from carcls.dataset.mirror import mirrored
from carcls.errors import DataError
from carcls.store.mirrors import mirror_folder, mirrored_bytes
from tests.helpers import ROOT
from tests.helpers.network.cutting_proxy import CuttingProxy
from tests.helpers.network.s3_server import S3Server

PHOTOS = {"a/1.jpg": b"one" * 1000, "a/2.jpg": b"two" * 1000, "b/3.jpg": b"three" * 1000, "labels.csv": b"path,label\n"}
TOTAL = sum(len(content) for content in PHOTOS.values())
KILLED = """
import os, signal, sys
from pathlib import Path
from carcls.dataset import mirror
mirror._THREADS = 1
def stop(done, total):
    if done > 5000:
        os.kill(os.getpid(), signal.SIGKILL)
mirror.mirrored(sys.argv[1], Path(sys.argv[2]), on_bytes=stop)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture
def server(running: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with the photos below a prefix of the test's own, and its credentials in the environment."""
    for key, value in running.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(mirror, "_complete", set())  # as in a process of its own
    for name, content in PHOTOS.items():
        running.put(f"{request.node.name}/{name}", content)
    return running


@pytest.fixture
def url(server: S3Server, request: pytest.FixtureRequest) -> str:
    return server.url(request.node.name)


@pytest.fixture
def proxy(server: S3Server):
    between = CuttingProxy(server.port)
    yield between
    between.close()


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_copied_once(url: str, server: S3Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    folder = mirrored(url, tmp_path, on_bytes=lambda done, total: steps.append((done, total)))
    assert folder == mirror_folder(tmp_path, url) / "files"
    assert content(folder) == PHOTOS
    assert steps[-1] == (TOTAL, TOTAL)
    assert len(steps) == len(PHOTOS)
    assert mirrored_bytes(tmp_path) == TOTAL
    mirror._complete.clear()
    steps.clear()
    assert mirrored(url, tmp_path, on_bytes=lambda *step: steps.append(step)) == folder
    assert steps == []


def test_a_folder_of_this_machine_is_a_storage_too(tmp_path: Path) -> None:
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "1.jpg").write_bytes(b"one")
    assert content(mirrored(f"file://{tmp_path / 'source'}", tmp_path / "store")) == {"a/1.jpg": b"one"}


def test_a_killed_copy_continues_where_it_stopped(url: str, server: S3Server, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, url, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    files = mirror_folder(tmp_path, url) / "files"
    before = {path: path.stat().st_ino for path in files.rglob("*.jpg")}
    assert len(before) == 2
    assert not (files.parent / "listing.json").exists()
    (files / ".left.part").write_bytes(b"half")
    assert content(mirrored(url, tmp_path)) == PHOTOS
    assert {path: path.stat().st_ino for path in before} == before


@pytest.mark.fault
def test_a_server_that_dies_is_named_and_the_next_call_continues(
    url: str, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_THREADS", 1)
    killed = threading.Event()

    def kill(done: int, total: int) -> None:
        if not killed.is_set():
            killed.set()
            server.kill()

    with pytest.raises(OSError, match=r"AWS Error|curl") as raised:
        mirrored(url, tmp_path, on_bytes=kill)
    assert raised.value.filename == url
    server.start()
    assert content(mirrored(url, tmp_path)) == PHOTOS


def test_a_file_that_arrives_damaged_is_read_again(
    server: S3Server, proxy: CuttingProxy, request: pytest.FixtureRequest, tmp_path: Path, caplog
) -> None:
    url = server.url(request.node.name, port=proxy.port)
    proxy.damage(b"twotwo", b"twoTwo")
    with caplog.at_level(logging.WARNING):
        assert content(mirrored(url, tmp_path)) == PHOTOS
    assert "/a/2.jpg arrived damaged: MD5 " in caplog.text


def test_a_file_that_stays_damaged_is_named_and_never_used(
    server: S3Server, proxy: CuttingProxy, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = server.url(request.node.name, port=proxy.port)
    proxy.damage(b"twotwo", b"twoTwo", b"twOtwo", b"Twotwo")
    with pytest.raises(DataError, match=r"a/2.jpg: arrived damaged 3 times \(MD5 .*, expected .*\)"):
        mirrored(url, tmp_path)
    files = mirror_folder(tmp_path, url) / "files"
    assert "a/2.jpg" not in content(files)
    assert not list(files.rglob("*.part"))


def test_etags_that_are_no_md5_are_not_compared(
    server: S3Server, proxy: CuttingProxy, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As those of files that S3 encrypts by a key of KMS."""
    etag = hashlib.md5(PHOTOS["a/2.jpg"], usedforsecurity=False).hexdigest().encode()
    proxy.damage(etag, *[b"0" * 32] * 9)
    assert content(mirrored(server.url(request.node.name, port=proxy.port), tmp_path)) == PHOTOS


def test_a_damaged_copy_is_made_whole(url: str, server: S3Server, tmp_path: Path) -> None:
    folder = mirrored(url, tmp_path)
    (folder / "a" / "1.jpg").write_bytes(b"on")
    (folder / "b" / "3.jpg").unlink()
    mirror._complete.clear()
    assert content(mirrored(url, tmp_path)) == PHOTOS


def test_a_new_study_sees_changes_and_an_old_one_does_not(
    url: str, server: S3Server, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    mirrored(url, tmp_path)
    server.put(f"{request.node.name}/a/1.jpg", b"other")
    server.put(f"{request.node.name}/a/4.jpg", b"four")
    mirror._complete.clear()
    assert content(mirrored(url, tmp_path)) == PHOTOS
    assert content(mirrored(url, tmp_path, renew=True)) == {**PHOTOS, "a/1.jpg": b"other", "a/4.jpg": b"four"}


def test_an_archive_is_unpacked(url: str, server: S3Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, photo in PHOTOS.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(photo)
            tar.addfile(entry, io.BytesIO(photo))
    server.put("photos.tar.gz", packed.getvalue())
    folder = mirrored(server.url("photos.tar.gz"), tmp_path)
    assert content(folder) == PHOTOS
    assert not (folder.parent / "archive").exists()


def test_what_does_not_fit_or_is_not_there_is_refused(url: str, server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not fit the store's quota of 1e-06 GB: raise store.quota_gb"):
        mirrored(url, tmp_path, quota_bytes=1000)
    with pytest.raises(DataError, match="nothing is there"):
        mirrored(server.url("nowhere"), tmp_path)
    server.put("hostile/a\tb/x.jpg", b"x")
    with pytest.raises(DataError, match=r"a file is named 'a\\tb/x.jpg'"):
        mirrored(server.url("hostile"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_processes_share_one_copy(url: str, server: S3Server, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from carcls.dataset.mirror import mirrored;"
        "n = []; mirrored(sys.argv[1], Path(sys.argv[2]), on_bytes=lambda *step: n.append(step)); print(len(n))"
    )
    command = [sys.executable, "-c", code, url, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(one.communicate(timeout=300)[0].strip() for one in both) == ["0", str(len(PHOTOS))]
    listing = json.loads((mirror_folder(tmp_path, url) / "listing.json").read_text(encoding="utf-8"))
    assert listing["sizes"] == {name: len(photo) for name, photo in PHOTOS.items()}
