"""Models of finished final trainings on photos larger or smaller than those they trained on.

    python -m benchmarks.sizes results/cars10 results/bodies9 ... [--sizes 192,224,256,288]

Two minutes a study on two cores; nothing is trained. A model that trained on random crops is better on somewhat larger
photos (Touvron et al. 2019, 'Fixing the train-test resolution discrepancy'). Here each fold's model answers the photos
that it did not train on, at each size, as the mean of the photo and its mirror image. Gains are over the size that it
trained at. Log-loss is after temperature scaling; photos that look alike count as one.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import machine, quiet, table

quiet()

from carcls.backend import devices  # noqa: E402 - after `quiet`: they bring albumentations and the framework
from carcls.config import TrainConfig  # noqa: E402 - after `quiet`
from carcls.inference.tta import PLAIN, average, predict_view  # noqa: E402 - after `quiet`
from carcls.input.training_data import TrainingData  # noqa: E402 - after `quiet`
from carcls.models.classifier import build_classifier  # noqa: E402 - after `quiet`
from carcls.scoring.choices import scaled  # noqa: E402 - after `quiet`
from carcls.scoring.gains import mean_gain  # noqa: E402 - after `quiet`
from carcls.scoring.metrics import accuracy  # noqa: E402 - after `quiet`
from carcls.splits.k_folds import read_folds  # noqa: E402 - after `quiet`
from carcls.splits.look_alikes import look_alikes  # noqa: E402 - after `quiet`
from carcls.training.fine_tuning import load_best  # noqa: E402 - after `quiet`
from search.experiment.node_store import open_store  # noqa: E402 - after `quiet`
from search.final.final_study import final_reports  # noqa: E402 - after `quiet`
from search.study.folder import StudyFolder  # noqa: E402 - after `quiet`
from search.study.frozen import open_experiment  # noqa: E402 - after `quiet`

_VIEWS = (PLAIN, "flip")
_HEADER = ("study", "photos", "px", "accuracy", "gain, points", "log-loss", "gain, nats")


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Of all folds' models, each for the photos that it did not train on."""

    study: str
    trained_px: int
    by_size: Mapping[int, NDArray[np.float32]]
    """(n, classes) probabilities by the side of the photos in pixels; `trained_px` among them."""
    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    """(n,) photos that look alike share a number."""


def main() -> None:
    arguments = _parse()
    devices.configure_for_prediction()
    rows = []
    for path in arguments.studies:
        rows += size_rows(answers_of(StudyFolder(path), arguments.sizes))
    print(f"{machine()}\n\n{table(_HEADER, rows)}")


def answers_of(folder: StudyFolder, sizes: Sequence[int]) -> Answers:
    """Of a study whose final training on two folds or more of square photos is finished."""
    if not folder.out_of_fold.exists():
        raise SystemExit(f"{folder.out_of_fold}: missing; expected a finished final training on 2 folds or more")
    experiment = open_experiment(folder)
    config = TrainConfig.model_validate(json.loads(folder.retrain_config.read_text(encoding="utf-8")))
    folds = read_folds(folder.retrain_study.folds, experiment.data.root)
    splits = [folds.split(number) for number in range(folds.count)]
    parts: dict[int, list[NDArray[np.float32]]] = {}
    trained_px: set[int] = set()
    for number, (split, reports) in enumerate(zip(splits, final_reports(folder), strict=False)):
        data = TrainingData(split, open_store(experiment.store), view_seed=0, processes=2)
        trial = folder.retrain_study.trial(number)
        trained, own_px = load_best(config, trial, reports[-1], class_count=len(split.class_names))
        if not isinstance(own_px, int):
            raise SystemExit(f"{folder.root}: trained on photos of {own_px}; expected square ones")
        trained_px.add(own_px)
        for size_px in dict.fromkeys((own_px, *sizes)):
            resized = build_classifier(config, size_px=size_px, class_count=len(split.class_names), weights=None).model
            resized.set_weights(trained.model.get_weights())
            pixels = data.pixels("validation", size_px)
            by_view = {view: predict_view(resized, pixels, view, batch_size=config.batch_size) for view in _VIEWS}
            parts.setdefault(size_px, []).append(average(by_view, _VIEWS))
    if len(trained_px) > 1:
        raise SystemExit(f"{folder.root}: its folds' best weights are of {sorted(trained_px)} px; expected one size")
    return Answers(
        study=folder.name,
        trained_px=trained_px.pop(),
        by_size={size_px: np.concatenate(found) for size_px, found in sorted(parts.items())},
        labels=np.concatenate([split.validation.labels for split in splits]),
        units=look_alikes(splits),
    )


def size_rows(one: Answers) -> list[tuple[object, ...]]:
    """A row for each size, smallest first."""
    own = one.by_size[one.trained_px]
    rows: list[tuple[object, ...]] = []
    for size_px, said in one.by_size.items():
        right = 100.0 * (said.argmax(axis=1) == one.labels)
        points = mean_gain(right - 100.0 * (own.argmax(axis=1) == one.labels), one.units)
        fitted = scaled(said, one.labels)
        nats = mean_gain(scaled(own, one.labels).losses - fitted.losses, one.units)
        gains = (
            ("", "") if size_px == one.trained_px else (_told(points.mean, points.sd, 1), _told(nats.mean, nats.sd, 3))
        )
        rows.append(
            (
                one.study,
                len(one.labels),
                size_px,
                f"{accuracy(said, one.labels):.3f}",
                gains[0],
                f"{fitted.log_loss:.3f}",
                gains[1],
            )
        )
    return rows


def _told(mean: float, error: float, digits: int) -> str:
    return f"{mean:+.{digits}f} ± {error:.{digits}f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    parser.add_argument("--sizes", default=(192, 224, 256, 288), type=_sizes, metavar="PX,PX,...")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
