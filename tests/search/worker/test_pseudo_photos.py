"""How unlabelled photos get their labels, by models that are not trained."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from carcls.inference.pseudo_labels import view_names
from carcls.splits.extra import parse_extra
from search.driver.create import create_recipe_folder
from search.experiment.experiment import load
from search.experiment.node_store import open_store
from search.worker import pseudo_photos as module
from search.worker.pseudo_job import PseudoJob
from search.worker.pseudo_photos import pseudo_photos
from tests.helpers.search.hanging_final import EPOCHS
from tests.helpers.search.tiny import CLASSES, FIXED, TEST_PER_CLASS, write_tiny

TEST, VIEWS = CLASSES * TEST_PER_CLASS, 4


class Sure:
    """A model that names one class, and notes how many photos it was asked at once."""

    output_shape = (None, CLASSES)

    def __init__(self, asked: list[int]) -> None:
        self._asked = asked

    def predict_on_batch(self, photos: np.ndarray) -> np.ndarray:
        self._asked.append(len(photos))
        return np.tile(np.eye(CLASSES, dtype=np.float32)[1], (len(photos), 1))


@pytest.mark.parametrize(("size_px", "at_once", "batch"), [(32, None, TEST), (32, 4, 4), (1024, None, 3), (1024, 2, 2)])
def test_each_view_is_told_and_no_more_photos_are_predicted_at_once_than_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_px: int, at_once: int | None, batch: int
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path, FIXED))
    folder = create_recipe_folder(experiment)
    asked: list[int] = []
    model = SimpleNamespace(model=Sure(asked))
    monkeypatch.setattr(module, "load_best", lambda *_, **__: (model, size_px))
    job = PseudoJob("", "", 1.0, VIEWS, ((0, EPOCHS[-1]), (1, EPOCHS[-1])))
    told: list[tuple[int, str]] = []

    def photos():
        return pseudo_photos(
            folder,
            2,
            job,
            data_root=experiment.data.root,
            config=experiment.bind({}),
            class_names=tuple(map(str, range(CLASSES))),
            store=open_store(experiment.store),
            processes=1,
            at_once=at_once,
            tell=lambda level, text: told.append((level, text)),
        )

    folder.trial(2).mkdir(parents=True)
    labelled, table = photos()
    assert len(labelled.photos) == len(table) == TEST
    assert labelled.class_names == ("1",)
    assert set(asked) == {batch}
    assert len(asked) == 2 * VIEWS * -(-TEST // batch)
    views = [f"pseudo-labels: {TEST} photos are predicted as {view}" for view in view_names(VIEWS)]
    assert [text for level, text in told if level == logging.DEBUG] == 2 * views
    assert [text for level, text in told if level == logging.INFO] == [
        f"pseudo-labels: {place} of 2 models have predicted {TEST} photos" for place in (1, 2)
    ]
    path = folder.pseudo_labels(2)
    assert parse_extra(path.read_bytes(), path, table.root).photos == labelled.photos
    asked.clear()
    assert photos()[0].photos == labelled.photos
    assert asked == [], "they are read"
