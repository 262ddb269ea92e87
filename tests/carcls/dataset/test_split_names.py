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
