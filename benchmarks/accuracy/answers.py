"""What an exported model says of the holdout and of the photos to predict: a process of its own, for TensorFlow.

python -m benchmarks.accuracy.answers STUDY MODEL OUT.npz
"""

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import quiet

quiet()

import numpy as np  # noqa: E402 - after `quiet`, like the others
from numpy.typing import NDArray  # noqa: E402 - after `quiet`

from carcls.backend import devices  # noqa: E402 - after `quiet`
from carcls.dataset.loading import load_unlabelled  # noqa: E402 - after `quiet`
from carcls.dataset.table import ImageTable  # noqa: E402 - after `quiet`
from carcls.inference.export import ExportedModel, load_model  # noqa: E402 - after `quiet`
from carcls.inference.tta import average, predict_view  # noqa: E402 - after `quiet`
from carcls.input.pixels import pixels  # noqa: E402 - after `quiet`
from carcls.scoring.ensembles import rescaled  # noqa: E402 - after `quiet`
from carcls.splits.split_files import read_split  # noqa: E402 - after `quiet`
from carcls.store import Store  # noqa: E402 - after `quiet`
from search.experiment.node_store import open_store  # noqa: E402 - after `quiet`
from search.study.folder import StudyFolder  # noqa: E402 - after `quiet`
from search.study.frozen import open_experiment  # noqa: E402 - after `quiet`

_BATCH_SIZE = 32
_TIMED_PHOTOS = 128


def main() -> None:
    study, model, out = (Path(argument) for argument in sys.argv[1:])
    write_answers(StudyFolder(study), model, out)


def write_answers(folder: StudyFolder, model: Path, out: Path) -> None:
    """Writes the probabilities of a model, with its views and sharpness, as `carsearch submit` computes them.

    Arrays: `test` (m, classes) with `test_ids` (m,), `class_names`, `ms` (1,), and if there is a holdout `held_out`
    (n, classes), `ids`, `labels` and `units` (n,).
    """
    experiment = open_experiment(folder)
    devices.configure_for_prediction()
    exported, store = load_model(model), open_store(experiment.store)
    split = read_split(folder.split, experiment.data.root)
    unlabelled = load_unlabelled(experiment.data.root, processes=2, layout=experiment.data.layout)
    test = _said(exported, unlabelled.photos, store)
    arrays: dict[str, Any] = {
        "test": test,
        "test_ids": np.array(unlabelled.photos.ids),
        "class_names": np.array(exported.card.class_names),
        "ms": np.array([_ms(exported, unlabelled.photos, store)]),
    }
    if split.holdout is not None:
        first = {photo: group[0] for group in split.units for photo in group}
        arrays |= {
            "held_out": _said(exported, split.holdout, store),
            "ids": np.array(split.holdout.ids),
            "labels": split.holdout.labels,
            "units": np.array([first.get(photo, photo) for photo in split.holdout.paths]),
        }
    draft = out.with_name(f".{out.name}")
    with draft.open("wb") as file:
        np.savez_compressed(file, **arrays)
    draft.replace(out)


def _said(exported: ExportedModel, photos: ImageTable, store: Store | None) -> NDArray[np.float32]:
    card = exported.card
    rows = pixels(photos, card.size, store, processes=2)
    by_view = {view: predict_view(exported.model, rows, view, batch_size=_BATCH_SIZE) for view in card.tta_views}
    return rescaled(average(by_view, card.tta_views), card.sharpness)


def _ms(exported: ExportedModel, photos: ImageTable, store: Store | None) -> float:
    """Milliseconds a photo with the views; the model was traced before."""
    rows = pixels(photos, exported.card.size, store, processes=2)[:_TIMED_PHOTOS]
    started = time.perf_counter()
    for view in exported.card.tta_views:
        predict_view(exported.model, rows, view, batch_size=_BATCH_SIZE)
    return (time.perf_counter() - started) / len(rows) * 1000


if __name__ == "__main__":
    main()
