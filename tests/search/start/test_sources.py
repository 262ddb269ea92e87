"""A folder, an archive, or a folder of archives becomes a folder of photos, and a look at it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from carcls.catalog import BACKBONES
from carcls.dataset.layouts import Layout, find_layout
from carcls.demo.sample import write_sample
from carcls.errors import DataError
from search.errors import ExperimentError, StartError
from search.experiment.experiment import load
from search.start.sources import is_data, source_of, study_name, unpack_source
from search.start.survey import look
from search.start.templates import TEMPLATES, template_path
from search.start.write import write_experiment


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 4 photos and 3 to predict, in the contest's layout."""
    root = tmp_path_factory.mktemp("start") / "cars"
    write_sample(root, classes=3, train_per_class=4, test_per_class=1)
    return root


def never() -> bool:
    raise AssertionError("the server was asked although weights are here")


def test_a_look_counts_by_names_alone(cars, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = look(cars, weights=(), reachable=lambda: True)
    assert (found.photos, found.classes, found.smallest_class, found.to_predict) == (12, 3, 4, 3)
    assert (found.side_px, found.nested, found.weights, found.can_download) == (120, False, (), True)


def test_nested_class_folders_are_accepted(cars, tmp_path):
    for brand in ("a", "b"):
        shutil.copytree(cars / "train" / "0", tmp_path / "nested" / brand / "x")
    found = look(tmp_path / "nested", weights=(), reachable=lambda: False)
    assert (found.nested, found.classes) == (True, 2)


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        ("car_data/train", "car_data/test", "car_data/test and car_data/train .*: set data.root to ROOT/car_data[.)]"),
        ("Train", "Test", "Test and Train .*: rename ROOT/Test to test and ROOT/Train to train[.)]"),
        ("d/training_set", "d/test_set", "rename ROOT/d/test_set to test and ROOT/d/training_set to train, then set "),
        ("train/train", "train/test", "train/test and train/train .*: set data.root to ROOT/train[.)]"),
    ],
)
def test_a_split_inside_another_folder_is_never_taken_for_classes(cars, tmp_path, train, test, told):
    for folder in (train, test):
        for label in "01":
            shutil.copytree(cars / "train" / label, tmp_path / folder / label)
    with pytest.raises((DataError, StartError), match=told.replace("ROOT", str(tmp_path))):
        look(tmp_path, weights=(), reachable=lambda: False)
    with pytest.raises(DataError) as error:
        find_layout(tmp_path, Layout())
    assert "; if these are classes, data.nested: true makes" in str(error.value)
    assert find_layout(tmp_path, Layout(nested=True)).layout.nested  # as the user says


def test_photos_beside_each_other_in_parts_of_a_split_are_no_two_classes(cars, tmp_path):
    for folder in ("cars_train", "cars_test"):
        shutil.copytree(cars / "train" / "0", tmp_path / folder)
    with pytest.raises(StartError, match="cars_test and cars_train are parts of a split, not classes: rename"):
        look(tmp_path, weights=(), reachable=lambda: False)


def test_vehicles_called_train_or_test_are_classes(cars, tmp_path):
    for folder in ("flat/BMW Test", "flat/Audi Train", "nested/Road Train/Volvo", "nested/Sedan/Audi"):
        shutil.copytree(cars / "train" / "0", tmp_path / folder)
    for name in ("flat", "nested"):
        found = look(tmp_path / name, weights=(), reachable=lambda: False)
        assert (found.classes, found.nested) == (2, name == "nested")


def test_one_class_and_no_photos_are_refused(cars, tmp_path):
    shutil.copytree(cars / "train" / "0", tmp_path / "one" / "only")
    with pytest.raises(StartError, match="1 class; expected two"):
        look(tmp_path / "one", weights=(), reachable=lambda: False)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no labelled photos"):
        look(tmp_path / "none", weights=(), reachable=lambda: False)
    with pytest.raises(StartError, match="no such file or folder"):
        look(cars, weights=[tmp_path / "absent.h5"], reachable=lambda: False)


def test_weights_of_other_work_in_keras_folder_do_not_count(cars, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    models, given = tmp_path / "keras" / "models", tmp_path / "given"
    for folder, name in ((models, "VGG19"), (models, "MobileNetV2"), (given, "VGG16")):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{name}.npz", **{"0": np.zeros((BACKBONES[name].weight_counts[0],), np.float16)})
    assert [one.backbone for one in look(cars, weights=(), reachable=never).weights] == ["MobileNetV2"]
    (models / "MobileNetV2.npz").unlink()
    found = look(cars, weights=(), reachable=lambda: True)
    assert (found.weights, found.can_download) == ((), True)
    assert [one.backbone for one in look(cars, weights=[given], reachable=never).weights] == ["VGG16"]


def test_weights_are_known_by_their_size_and_save_the_question(cars, tmp_path):
    sample = Path(__file__).parents[3] / "carcls" / "models" / "sample_weights" / "mobilenet_v2_0.35_96.npz"
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(sample, folder)
    (folder / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\nnothing")
    found = look(cars, weights=[folder], reachable=never)
    assert [(one.backbone, one.alpha, one.path.name) for one in found.weights] == [("MobileNetV2", 0.35, sample.name)]


def test_archives_are_unpacked_once(cars, tmp_path, monkeypatch):
    """A folder as Kaggle shows the contest's: archives with the tables beside them."""
    there = tmp_path / "sf-dl-car-classification"
    there.mkdir()
    for name, inside in (("train", "train"), ("test", "test_upload")):
        with zipfile.ZipFile(there / f"{name}.zip", "w") as archive:
            for path in sorted((cars / inside).rglob("*.jpg")):
                archive.write(path, path.relative_to(cars))
    for table in ("train.csv", "sample-submission.csv"):
        shutil.copy(cars / table, there)
    source = source_of(there, into=tmp_path / "data")
    assert source.photos == tmp_path / "data" / "sf-dl-car-classification"
    lines: list[str] = []
    for _ in range(2):
        unpack_source(source, on_bytes=lambda done, total: None, say=lines.append)
    assert lines == [
        f"unpacked: 15 files, 0 were there already: {source.photos}",
        f"unpacked: 0 files, 15 were there already: {source.photos}",
    ]
    assert look(source.photos, weights=(), reachable=lambda: False).photos == 12


def test_a_folder_of_photos_stays_where_it_is(cars, tmp_path):
    assert source_of(cars, into=tmp_path).photos == cars
    assert not source_of(cars, into=tmp_path).archives
    with pytest.raises(StartError, match="no such folder or archive"):
        source_of(tmp_path / "absent", into=tmp_path)


@pytest.mark.parametrize(
    ("data", "name"),
    [("a/My cars!.tar.gz", "My-cars"), ("x/photos.zip", "photos"), ("x/Машины", "photos"), ("x/b_2-c", "b_2-c")],
)
def test_a_study_is_named_after_its_photos(data, name):
    assert study_name(Path(data)) == name


def test_what_is_data_and_what_a_file(cars):
    assert is_data(cars)
    assert is_data(Path("cars.ZIP"))
    assert not is_data(Path("cars.yaml"))


def test_a_file_is_never_overwritten_unasked(cars, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = tmp_path / "cars.yaml"
    file.write_text("mine", encoding="utf-8")
    arguments = {"preset": "quick", "name": "cars", "file": file, "reachable": lambda: False}
    with pytest.raises(StartError, match="--replace"):
        write_experiment(cars, **arguments)
    assert file.read_text(encoding="utf-8") == "mine"
    written = write_experiment(cars, **arguments, replace=True)
    assert written.experiment.data.root == cars
    assert written.lines()[0].startswith(
        "photos: 12 of 3 classes (the contest's layout), 4 to 4 of a class, 3 to predict"
    )


def test_a_file_that_would_not_load_is_not_written(cars, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = tmp_path / "cars.yaml"
    with pytest.raises(ExperimentError, match="a name of letters"):
        write_experiment(cars, preset="quick", name="my cars", file=file, reachable=lambda: False)
    assert not file.exists()


@pytest.mark.parametrize("name", ["2024", "true", "1e3", "null"])
def test_a_name_may_look_like_another_value(cars, tmp_path, monkeypatch, name):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = tmp_path / "cars.yaml"
    written = write_experiment(cars, preset="quick", name=name, file=file, reachable=lambda: False)
    assert written.experiment.name == load(file).name == name
    assert written.experiment == load(file)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_the_repositorys_experiments(name):
    assert template_path(name).resolve() == (Path(__file__).parents[3] / "experiments" / f"{name}.yaml").resolve()


def test_init_loads_no_framework():
    check = "import sys, search.start.write; print({'keras', 'tensorflow', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
