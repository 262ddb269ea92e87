"""A search whose study is in a bucket ends as one in a folder: a killed server or machine changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from search.experiment.node_store import keep_pointer
from search.study.bucket import driver_lock
from search.study.bucket.places import refresh
from search.study.study import Study
from tests.helpers.network.s3_server import S3Server
from tests.helpers.search.dispatch_desk import (
    ACCURACIES,
    FINALS,
    Desk,
    assert_same_results,
    continue_after_loss,
    finish,
    finish_with_kills,
    whole,
)

KILLED_AT = (2, 6)
"""Numbers of recorded epochs, over the whole search, after which the server is killed."""


@pytest.fixture
def undisturbed(open_desk: Callable[..., Desk]):
    desk = open_desk(*FINALS)
    finish(desk, ACCURACIES)
    found = whole(desk)
    shutil.rmtree(desk.folder.root)
    return found


def in_bucket(s3: S3Server, tmp_path: Path, study: Path) -> None:
    """From now on the study's folder mirrors one in the bucket."""
    keep_pointer(study.parent, s3.url(tmp_path.name))


def on_another_machine(study: Path) -> None:
    """All files of this machine are lost; what the bucket has is brought down."""
    shutil.rmtree(study, ignore_errors=True)
    study.with_name(f".{study.name}.bucket-owner").unlink()
    refresh(study)


def put_experiment(desk: Desk, s3: S3Server, tmp_path: Path) -> None:
    """As the creation of a study does."""
    s3.put(f"{tmp_path.name}/study/experiment.yaml", desk.experiment.resolved_yaml().encode())


@pytest.mark.fault
@pytest.mark.release
def test_a_killed_server_changes_no_result(
    undisturbed, open_desk: Callable[..., Desk], s3: S3Server, tmp_path: Path
) -> None:
    in_bucket(s3, tmp_path, tmp_path / "study")
    desk = open_desk(*FINALS)
    put_experiment(desk, s3, tmp_path)
    desk.study.retry_files(5, lambda: None)
    finish_with_kills(desk, s3, killed_at=KILLED_AT, back_after_s=1.0)
    assert whole(desk) == undisturbed
    on_another_machine(desk.folder.root)
    assert Study.open(desk.folder.root, read_only=True).records() == undisturbed[0]


@pytest.mark.fault
def test_another_machine_continues_with_every_recorded_epoch(
    undisturbed, open_desk: Callable[..., Desk], s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine is lost in the middle of a trial, with the lock that it held."""
    monkeypatch.setattr(driver_lock, "STALE_S", 1.0)
    in_bucket(s3, tmp_path, tmp_path / "study")
    desk = open_desk(*FINALS)
    put_experiment(desk, s3, tmp_path)
    segment = desk.take()
    report = desk.epoch(segment.number, accuracy=ACCURACIES[0])
    lost = Path(shutil.copytree(desk.folder.root, tmp_path / "lost"))
    lock = s3.get(f"{tmp_path.name}/study/driver.json")
    shutil.rmtree(desk.folder.root)  # so that closing the study stores nothing more
    desk.study.close()
    s3.put(f"{tmp_path.name}/study/driver.json", lock)
    on_another_machine(desk.folder.root)
    for name in (report.checkpoint, report.best_weights):
        assert (desk.folder.trial(segment.number) / name).read_bytes() == b"weights"
    assert desk.folder.log.read_bytes() == (lost / "study.log").read_bytes()
    desk = open_desk(*FINALS)
    assert continue_after_loss(desk, segment.number).resume == report.checkpoint
    assert_same_results(desk, undisturbed)


@pytest.mark.fault
def test_an_epoch_counts_only_once_it_is_in_the_bucket(
    open_desk: Callable[..., Desk], s3: S3Server, tmp_path: Path
) -> None:
    in_bucket(s3, tmp_path, tmp_path / "study")
    desk = open_desk(*FINALS)
    put_experiment(desk, s3, tmp_path)
    segment = desk.take()
    first = desk.epoch(segment.number, accuracy=0.5)
    s3.kill()
    with pytest.raises(OSError, match=r"AWS Error NETWORK_CONNECTION") as raised:
        desk.epoch(segment.number, ended=True, accuracy=0.5)
    assert raised.value.filename is not None
    assert raised.value.filename.startswith("s3://cars/")
    s3.start()
    shutil.rmtree(desk.folder.root)
    desk.study.close()
    on_another_machine(desk.folder.root)
    assert Study.open(desk.folder.root, read_only=True).record(segment.number).reports == (first,)
