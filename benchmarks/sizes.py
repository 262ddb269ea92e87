"""Models of finished final trainings on photos larger or smaller than those they trained on.

    python -m benchmarks.sizes results/cars10 results/bodies9 ... [--sizes 192,224,256,288]

About two minutes a study on two cores; nothing is trained or written, except pixels to the store. A model that trained
on random crops is often better on somewhat larger photos (Touvron et al. 2019, 'Fixing the train-test resolution
discrepancy'). Here each fold's model answers the photos that it did not train on, at each size, as the mean of photo
and mirror image. Gains are over the size that its weights trained at, with standard errors; positive is better.
Log-loss is after temperature scaling on these photos; photos that look alike count as one.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import cores, machine, quiet, table

quiet()

from carcls.backend import devices  # noqa: E402 - after `quiet`: they bring albumentations and the framework
from carcls.catalog import KNOWN_BACKBONES  # noqa: E402 - after `quiet`
from carcls.config import TrainConfig  # noqa: E402 - after `quiet`
from carcls.frames import Frame, frame_of  # noqa: E402 - after `quiet`
from carcls.inference.tta import PLAIN, average, predict_view  # noqa: E402 - after `quiet`
from carcls.input.training_data import TrainingData  # noqa: E402 - after `quiet`
from carcls.models.classifier import Classifier, build_classifier  # noqa: E402 - after `quiet`
from carcls.scoring.choices import scaled  # noqa: E402 - after `quiet`
from carcls.scoring.gains import Normal, mean_gain  # noqa: E402 - after `quiet`
from carcls.splits.k_folds import read_folds  # noqa: E402 - after `quiet`
from carcls.splits.look_alikes import look_alikes  # noqa: E402 - after `quiet`
from carcls.training.fine_tuning import load_best  # noqa: E402 - after `quiet`
from search.experiment.node_store import open_store  # noqa: E402 - after `quiet`
from search.study.final_members import members  # noqa: E402 - after `quiet`
from search.study.folder import StudyFolder  # noqa: E402 - after `quiet`
from search.study.frozen import open_experiment  # noqa: E402 - after `quiet`
from search.study.study import Study  # noqa: E402 - after `quiet`

_VIEWS, _BATCH = (PLAIN, "flip"), 32
_HEADER = ("study", "photos", "px", "accuracy", "gain, points", "log-loss", "gain, nats")


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Of all folds' models, each for the photos that it did not train on."""

    study: str
    trained_px: int
    by_size: Mapping[int, NDArray[np.float32]]
    """(n, classes) probabilities by the side of the photos in px; `trained_px` among them."""
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    """(n,) photos that look alike share a number."""


def main() -> None:
    arguments = _parse()
    devices.configure_for_prediction()
    rows = [row for path in arguments.studies for row in size_rows(answers_of(StudyFolder(path), arguments.sizes))]
    print(f"{machine()}\n\n{table(_HEADER, rows)}")


def answers_of(folder: StudyFolder, sizes: Sequence[int]) -> Answers:
    """Of a study whose final training on two folds or more is finished, at `sizes` and at its own.

    Raises SystemExit for other studies, for photos that are not square, and for a size that the backbone cannot take.
    """
    if not folder.out_of_fold.exists():
        raise SystemExit(f"{folder.out_of_fold}: missing; expected a finished final training on 2 folds or more")
    experiment = open_experiment(folder)
    config = TrainConfig.model_validate(json.loads(folder.retrain_config.read_text(encoding="utf-8")))
    folds, store = read_folds(folder.retrain_study.folds, experiment.data.root), open_store(experiment.store)
    parts: dict[int, list[NDArray[np.float32]]] = {}
    splits, trained_px = [], 0
    # A trial's number is not its fold's if extra photos or pseudo-labels were compared.
    for record in members(Study.open(folder.retrain, read_only=True)):
        split, trial = folds.split(record.fold or 0), folder.retrain_study.trial(record.number)
        classifier, own_size = load_best(config, trial, record.reports[-1], class_count=len(folds.class_names))
        own = frame_of(own_size)
        if own.height != own.width or trained_px not in (0, own.width):
            raise SystemExit(f"{trial}: trained on photos of {own} px; expected square ones, in all folds alike")
        trained_px, data = own.width, TrainingData(split, store, view_seed=0, processes=cores())
        for size_px in dict.fromkeys((trained_px, *sizes)):
            if not takes(config.backbone, size_px, trained_px=trained_px):
                raise SystemExit(f"{trial}: {config.backbone} trained at {own} px takes no photos of {size_px} px")
            parts.setdefault(size_px, []).append(_predicted(config, classifier, data, size_px))
        splits.append(split)
    return Answers(
        study=folder.name,
        trained_px=trained_px,
        by_size={size_px: np.concatenate(found) for size_px, found in sorted(parts.items())},
        labels=np.concatenate([split.validation.labels for split in splits]),
        units=look_alikes(splits),
    )


def takes(backbone: str, size_px: int, *, trained_px: int) -> bool:
    """Whether the weights of a model that trained at one size fit photos of another."""
    info = KNOWN_BACKBONES[backbone]
    fits = size_px >= info.min_size_px and size_px % info.side_step_px == 0
    return size_px == trained_px or (fits and not info.one_size)


def _predicted(config: TrainConfig, trained: Classifier, data: TrainingData, side_px: int) -> NDArray[np.float32]:
    size, class_count = Frame(side_px, side_px, config.fit).size, trained.model.output_shape[-1]
    resized = build_classifier(config, size_px=size, class_count=class_count, weights=None).model
    resized.set_weights(trained.model.get_weights())
    pixels = data.pixels("validation", size)
    return average({view: predict_view(resized, pixels, view, batch_size=_BATCH) for view in _VIEWS}, _VIEWS)


def size_rows(one: Answers) -> list[tuple[object, ...]]:
    """A row for each size, smallest first."""
    own = one.by_size[one.trained_px]
    own_right, own_losses = own.argmax(axis=1) == one.labels, scaled(own, one.labels).losses
    rows: list[tuple[object, ...]] = []
    for size_px, said in one.by_size.items():
        right, fitted = said.argmax(axis=1) == one.labels, scaled(said, one.labels)
        points, nats = "", ""
        if size_px != one.trained_px:
            points = _told(mean_gain(100.0 * right - 100.0 * own_right, one.units), digits=1)
            nats = _told(mean_gain(own_losses - fitted.losses, one.units), digits=3)
        figures = (f"{right.mean():.3f}", points, f"{fitted.log_loss:.3f}", nats)
        rows.append((one.study, len(right), size_px, *figures))
    return rows


def _told(gain: Normal, *, digits: int) -> str:
    return f"{gain.mean:+.{digits}f} ± {gain.sd:.{digits}f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    parser.add_argument("--sizes", default=(192, 224, 256, 288), type=_sizes, metavar="PX,PX,...")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
