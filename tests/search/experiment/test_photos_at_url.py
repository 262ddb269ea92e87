"""Photos at a URL: which ones are accepted, and what a study makes of them. `test_mirror.py` copies from S3."""

from pathlib import Path

import pytest

from carcls.demo.sample import write_sample
from carcls.errors import DataError
from carcls.splits.split_files import read_split
from carcls.store.mirrors import mirror_folder
from search.driver.create import create_study
from search.errors import ExperimentError
from search.experiment.experiment import load
from search.experiment.node_store import open_store, photos_folder
from search.experiment.settings import StoreSettings
from search.study.frozen import open_experiment
from search.study.stored_split import read_study_extra
from search.worker.segment import Segment
from search.worker.segment_photos import segment_photos
from tests.helpers.search.tiny import CLASSES, write_tiny


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_tiny(tmp_path)


def problem(file: Path, *overrides: str) -> str:
    with pytest.raises(ExperimentError) as raised:
        load(file, overrides)
    return str(raised.value)


def test_a_study_of_photos_at_a_url_reads_this_machines_copy(file: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'data'}"
    plain = create_study(load(file, [f"results={tmp_path / 'results'}"]))
    changes = [f"data.root={url}", f"store.root={tmp_path / 'store'}", f"results={tmp_path / 'results'}", "name=far"]
    experiment = load(file, changes)
    assert experiment.photos_at == url
    assert experiment.missing_files() == ()
    study = create_study(experiment)
    copy = mirror_folder(tmp_path / "store", url) / "files"
    assert open_experiment(study).data.root == copy
    assert open_experiment(study).photos_at == url
    assert photos_folder(url, experiment.store) == copy
    assert study.split.read_bytes() == plain.split.read_bytes()
    assert all((copy / path).is_file() for path in read_split(study.split, copy).train.paths)


def test_extra_photos_at_a_url_are_copied_and_read_there(file: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "more", classes=CLASSES, train_per_class=2, test_per_class=1, seed=7)
    url = f"file://{tmp_path / 'more'}"
    changes = [f"data.extra={url}", f"store.root={tmp_path / 'store'}", f"results={tmp_path / 'results'}"]
    experiment = load(file, changes)
    assert experiment.missing_files() == ()
    study = create_study(experiment)
    copy = mirror_folder(tmp_path / "store", url) / "files"
    frozen = open_experiment(study)
    assert (frozen.extra_at, frozen.data.extra, frozen.data.root) == (url, copy, tmp_path / "data")
    photos = read_study_extra(study, copy, "").photos
    assert len(photos) == 2 * CLASSES
    assert all((copy / path).is_file() for path in photos.paths)


def test_a_training_reads_extra_photos_from_this_nodes_copy(file: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "more", classes=CLASSES, train_per_class=2, test_per_class=1, seed=7)
    url = f"file://{tmp_path / 'more'}"
    places = [f"store.root={tmp_path / 'store'}", f"results={tmp_path / 'results'}"]
    study = create_study(load(file, [f"data.extra={url}", *places]))
    elsewhere = {"root": str(tmp_path / "other")}
    segment = Segment(
        study=str(study.root),
        number=0,
        attempt=0,
        config={},
        resume=None,
        stop_after_stage=0,
        data_root=str(tmp_path / "data"),
        view_seed=0,
        store=elsewhere,
        threads=1,
        gpu_share=None,
        deterministic=True,
        extra_root=url,
    )
    split, _ = segment_photos(segment, study, tmp_path / "data", open_store(StoreSettings.model_validate(elsewhere)))
    copy = mirror_folder(tmp_path / "other", url) / "files"
    extra = [path for path in split.train.paths if path.startswith(str(copy))]
    assert len(extra) == 2 * CLASSES
    assert all(Path(path).is_file() for path in extra)


def test_an_extra_url_is_checked_like_that_of_the_photos(file: Path, tmp_path: Path) -> None:
    assert problem(file, "data.extra=ftp://cars/more").endswith(
        ": data.extra: expected a path or a URL of s3://, gs://, abfs://, abfss:// or file://, found ftp://"
    )
    file.write_text(file.read_text().replace("root: data", "root: data, extra: 's3://cars/more?secret_key=hush-hush'"))
    text = problem(file)
    assert "data.extra: the URL holds credentials" in text
    assert "hush-hush" not in text
    missing = load(file, [f"data.extra=file://{tmp_path / 'none'}", f"store.root={tmp_path / 'store'}"])
    with pytest.raises(DataError, match=r"none: "):
        create_study(missing)


def test_another_scheme_is_refused_with_those_that_work(file: Path) -> None:
    text = problem(file, "data.root=https://cars.example/photos")
    assert text.endswith(
        ": data.root: expected a path or a URL of s3://, gs://, abfs://, abfss:// or file://, found https://"
    )


@pytest.mark.parametrize("url", ["s3://AKID:hush-hush@cars/photos", "s3://cars/photos?secret_key=hush-hush"])
def test_credentials_in_a_url_are_refused_and_not_repeated(file: Path, url: str) -> None:
    given = problem(file, f"data.root={url}")
    file.write_text(file.read_text().replace("root: data", f"root: '{url}'"))
    for text in (given, problem(file)):
        assert "data.root: the URL holds credentials, which the study would keep in its files" in text
        assert "hush-hush" not in text


@pytest.mark.parametrize("key", ["data.test", "data.labels", "store.root", "train.weights"])
def test_other_files_must_have_a_path(file: Path, key: str) -> None:
    text = problem(file, f"{key}=s3://cars/x.h5")
    assert f"{key}: expected a path, found a URL: only data.root, data.extra and results may be one" in text
