"""Which folders are taken for parts of a split."""

from pathlib import Path

import pytest

from carcls.dataset.split_names import split_advice, split_folders


@pytest.mark.parametrize(
    ("classes", "parts"),
    [
        (("cars/test/a", "cars/train/a"), ("cars/test", "cars/train")),
        (("Train/a", "Test/a"), ("Train", "Test")),
        (("d/training_set/a", "d/test_set/a", "d/valid/a"), ("d/training_set", "d/test_set", "d/valid")),
        (("TrainImages/a", "other/b"), ("TrainImages",)),
        (("cars_train", "cars_test"), ("cars_train", "cars_test")),
        (("land/train", "land/car", "water/boat"), ()),
        (("land/train", "water/test"), ()),
        (("Audi/A4", "Audi/Contest", "BMW/Trainer"), ()),
        (("Road Train/Volvo", "Sedan/Audi"), ()),
        (("BMW Test", "Audi Train"), ()),
        (("Freight Train/a", "Subway Train/a", "Car/b"), ()),
        (("Freight Train/a", "Crash Test/a"), ()),
        (("Поезд train/a", "Седан/b"), ()),
        (("Train 2/a", "Sedan/b"), ()),
        (("test_cars", "train_cars"), ("test_cars", "train_cars")),
        (("d/cars_train/a", "d/cars_test", "d/cars_train/b"), ("d/cars_train",)),
    ],
)
def test_parts_of_a_split_are_known_by_their_names(classes, parts):
    assert split_folders(classes) == parts


def test_the_advice_names_what_to_rename_and_the_data_folder():
    root = Path("data")
    assert split_advice(root, ["x/Train", "x/test"]) == (
        "parts of a split, not classes: rename data/x/Train to train, then set data.root to data/x"
    )
    assert split_advice(root, ["val"]).endswith(": call the folder with the photos to train on train")
    assert split_advice(root, ["x/cars_train"]) == (
        "part of a split, not a class: rename data/x/cars_train to train, then set data.root to data/x"
    )
    assert split_advice(root, ["Train", "valid"]).endswith(": rename data/Train to train")


def test_the_advice_never_gives_two_folders_one_name():
    root = Path("data")
    assert split_advice(root, ["Train", "cars_train", "Test"]).endswith(
        ": rename data/Test to test, then move what is in data/Train and data/cars_train to data/train"
    )
    assert split_advice(root, ["x/train", "x/Training"]).endswith(
        ": move what is in data/x/Training to data/x/train, then set data.root to data/x"
    )
    assert split_advice(root, ["Audi/train", "BMW/train", "BMW/Test"]).endswith(
        ": move what is in data/Audi/train and data/BMW/train to data/train, and what is in data/BMW/Test to data/test"
    )
