"""A final training's predictions that are damaged: the ensemble and the report go on without them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from carcls.splits.split_files import read_split
from search.ensemble.selectable import final_candidates
from search.study.folder import StudyFolder
from search.study.predictions import final_predictions
from tests.helpers.search.tiny import CLASSES
from tests.helpers.search.untrained_study import add_final, untrained_study


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.rindex(np.float32(1 / CLASSES).tobytes())
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)


def compressed_and_changed(path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["view/plain"] = np.random.default_rng(0).random(arrays["view/plain"].shape, np.float32)
    np.savez_compressed(path, **arrays)
    content = bytearray(path.read_bytes())
    at = content.index(b"view/plain.npy") + 60
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_plain(path: Path) -> None:
    with np.load(path) as stored:
        np.savez(path, **{key: value for key, value in stored.items() if key != "view/plain"})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Path, bytes]:
    folder, experiment = untrained_study(tmp_path_factory.mktemp("damaged"))
    add_final(folder, experiment)
    return folder, experiment.data.root, folder.out_of_fold.read_bytes()


@pytest.mark.parametrize("damage", [changed, compressed_and_changed, cut_off, emptied, without_plain])
def test_damaged_predictions_are_named_and_left_out(
    study: tuple[StudyFolder, Path, bytes], damage: Callable[[Path], None]
) -> None:
    folder, data, whole = study
    folder.out_of_fold.write_bytes(whole)
    split = read_split(folder.split, data)
    _, (found,), _ = final_candidates(folder, split)
    assert found.name == "2 folds of the final training"
    assert final_predictions(folder, data) is not None
    damage(folder.out_of_fold)
    _, none, (missing,) = final_candidates(folder, split)
    assert none == ()
    assert missing.startswith(f"2 folds of the final training: {folder.out_of_fold}: cannot be read")
    assert final_predictions(folder, data) is None
