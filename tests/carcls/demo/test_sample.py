import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carcls.dataset.loading import load_dataset
from carcls.demo.brush import upward_normal
from carcls.demo.camera import place_camera
from carcls.demo.cars import BODY_KINDS, CarModel, car_model, car_models
from carcls.demo.drawing import draw_car
from carcls.demo.sample import PHOTO_SIZE_PX, sample_photo, write_sample
from carcls.demo.sample_baseline import thumbnail_baseline
from carcls.errors import DataError

SEEDS = st.integers(min_value=0, max_value=2**31 - 1)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        return [(row["Id"], row["Category"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "cars"
    write_sample(root, train_per_class=4, test_per_class=2, classes=3)
    return root


def test_the_layout_is_the_contest_s(sample):
    train, submission = rows(sample / "train.csv"), rows(sample / "sample-submission.csv")
    assert sorted(photo_id for photo_id, _ in train) == sorted(f"{i}.jpg" for i in range(12))
    assert [label for _, label in train].count("2") == 4
    assert {path.name for path in (sample / "test_upload").iterdir()} == {photo_id for photo_id, _ in submission}
    assert {label for _, label in submission} == {"0"}
    assert len(submission) == 6
    assert all((sample / "train" / label / photo_id).is_file() for photo_id, label in train)


def test_ids_tell_nothing_about_the_class(sample):
    labels = [label for _, label in rows(sample / "train.csv")]
    assert labels != sorted(labels)
    in_order = [photo_id for photo_id, _ in rows(sample / "sample-submission.csv")]
    assert in_order != sorted(in_order)


def test_the_labels_for_scoring_cover_the_submission(sample):
    labels = rows(sample / "test_labels.csv")
    assert [photo_id for photo_id, _ in labels] == [photo_id for photo_id, _ in rows(sample / "sample-submission.csv")]
    assert sorted(label for _, label in labels) == ["0", "0", "1", "1", "2", "2"]


def test_the_project_s_own_loader_reads_it_whole(sample):
    dataset = load_dataset(sample, processes=1)
    assert dataset.class_names == ("0", "1", "2")
    assert (len(dataset.train), len(dataset.test), dataset.quarantined) == (12, 6, ())
    named = {
        Path(path).name: dataset.class_names[label]
        for path, label in zip(dataset.train.paths, dataset.train.labels, strict=True)
    }
    assert named == dict(rows(sample / "train.csv"))
    assert dataset.sample_submission == sample / "sample-submission.csv"


def test_the_same_arguments_give_the_same_bytes(sample, tmp_path):
    write_sample(tmp_path / "again", train_per_class=4, test_per_class=2, classes=3)
    assert contents(tmp_path / "again") == contents(sample)


def test_writing_over_itself_changes_nothing(sample):
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    write_sample(sample, train_per_class=4, test_per_class=2, classes=3)
    assert {path: path.stat().st_mtime_ns for path in sample.rglob("*")} == before


@pytest.mark.parametrize("arguments", [{"seed": 1}, {"family": 1}])
def test_another_seed_or_family_gives_other_photos(sample, tmp_path, arguments):
    write_sample(tmp_path / "other", train_per_class=4, test_per_class=2, classes=3, **arguments)
    photos = {name: data for name, data in contents(sample).items() if name.endswith(".jpg")}
    others = set(contents(tmp_path / "other").values())
    assert not others & set(photos.values())


def test_a_folder_with_other_content_is_not_touched(sample, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="something else"):
        write_sample(tmp_path, train_per_class=1, test_per_class=1)
    assert contents(tmp_path) == {"mine.txt": b"keep"}
    with pytest.raises(DataError, match="another sample"):
        write_sample(sample, train_per_class=5, test_per_class=2, classes=3)


def test_an_interrupted_writing_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", fail)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "cars", train_per_class=1, test_per_class=1, classes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["classes", "train_per_class", "test_per_class"])
def test_nothing_to_draw_is_refused(tmp_path, name):
    counts = {"classes": 1, "train_per_class": 1, "test_per_class": 1, name: 0}
    with pytest.raises(DataError, match="expected at least one"):
        write_sample(tmp_path / "cars", **counts)


def test_test_photos_do_not_depend_on_the_number_of_training_photos(tmp_path):
    def test_photos(per_class: int) -> set[bytes]:
        root = tmp_path / str(per_class)
        write_sample(root, train_per_class=per_class, test_per_class=2, classes=2)
        return {path.read_bytes() for path in (root / "test_upload").iterdir()}

    assert test_photos(1) == test_photos(3)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([(60, 80), (120, 160), (96, 96)]))
def test_a_drawing_is_a_pure_function_of_generator_model_and_size(seed, size):
    model = car_model(np.random.default_rng(seed))
    first, second = (draw_car(np.random.default_rng(seed), model, size) for _ in range(2))
    assert first.shape == (*size, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert first.std() > 3  # not blank


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
@example(seed=1668425)  # a high sill under a low nose
def test_every_model_is_a_car(seed):
    model = car_model(np.random.default_rng(seed))
    assert model.body in BODY_KINDS
    assert 0 < model.clearance < model.bumper * model.nose < model.nose < model.belt < model.height
    assert 0 < model.deck <= model.roof_rear < model.cowl - model.windscreen_run < model.cowl < 1
    assert model.tail <= model.belt
    assert model.rear_axle + model.wheel_radius < model.front_axle - model.wheel_radius
    assert list(model.pillars) == sorted(model.pillars)


def test_a_familys_models_do_not_depend_on_their_number():
    assert car_models(3, family=4) == car_models(8, family=4)[:3]
    assert not set(car_models(20, family=0)) & set(car_models(200, family=1))
    assert {model.body for model in car_models(10, family=0)} == set(BODY_KINDS)


def model_of(seed: int) -> CarModel:
    return car_model(np.random.default_rng(seed))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_the_camera_keeps_the_car_in_the_picture(seed):
    model = model_of(seed)
    camera = place_camera(np.random.default_rng(seed), model, 240, 320)
    middle = camera.pixels(np.array([(0.5, model.height / 2, 0.0)]))[0]
    assert 0 < middle[0] < 320
    assert 0 < middle[1] < 240
    roof, ground = camera.pixels(np.array([(0.5, model.height, 0.0), (0.5, 0.0, 0.0)]))
    assert roof[1] < ground[1]


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_the_camera_sees_the_near_side_and_never_the_floor(seed):
    model = model_of(seed)
    camera = place_camera(np.random.default_rng(seed), model, 240, 320)
    assert camera.sees(np.array([0.5, 0.1, model.width / 2]), np.array([0.0, 0.0, 1.0]))
    assert not camera.sees(np.array([0.5, 0.0, 0.0]), np.array([0.0, -1.0, 0.0]))


def test_the_normal_of_a_flat_roof_points_up():
    assert upward_normal(np.array([0.2, 0.3]), np.array([0.6, 0.3])) == pytest.approx([0, 1, 0])


def test_cars_face_both_ways_and_show_both_ends():
    model = model_of(0)
    cameras = [place_camera(np.random.default_rng(seed), model, 240, 320) for seed in range(40)]
    ends = np.array([(0.0, 0.1, 0.0), (1.0, 0.1, 0.0)])
    faces_right = [camera.pixels(ends)[1, 0] > camera.pixels(ends)[0, 0] for camera in cameras]
    assert 10 < sum(faces_right) < 30
    assert any(camera.eye[0] > 1 for camera in cameras)
    assert any(camera.eye[0] < 0 for camera in cameras)


def test_mean_colour_does_not_tell_two_models_apart():
    models = car_models(2, family=0)
    means = [
        np.mean([sample_photo(models[i], seed=0, family=0, number=i, index=k) for k in range(60)], axis=(1, 2))
        for i in range(2)
    ]
    apart = np.abs(means[0].mean(axis=0) - means[1].mean(axis=0))
    assert (apart < np.std(means[0], axis=0)).all()


def test_the_size_of_a_photo_is_four_to_three(sample):
    photo = cv2.imread(str(next((sample / "test_upload").iterdir())))
    assert photo.shape == (*PHOTO_SIZE_PX, 3)


def test_the_thumbnail_floor_reads_what_it_is_given(sample, tmp_path):
    # Test photos equal to training photos: a logistic regression predicts all of them if labels are joined correctly.
    root = tmp_path / "leaky"
    (root / "test_upload").mkdir(parents=True)
    train = rows(sample / "train.csv")
    for photo_id, label in train:
        data = (sample / "train" / label / photo_id).read_bytes()
        (root / "train" / label).mkdir(parents=True, exist_ok=True)
        (root / "train" / label / photo_id).write_bytes(data)
        (root / "test_upload" / photo_id).write_bytes(data)
    for name in ("train.csv", "test_labels.csv"):
        (root / name).write_bytes((sample / "train.csv").read_bytes())
    assert thumbnail_baseline(root) == 1.0


def test_the_thumbnail_floor_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"train\.csv: missing"):
        thumbnail_baseline(tmp_path)
