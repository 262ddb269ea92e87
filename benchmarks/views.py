"""What averaging TTA views gains in finished final trainings: the prior of `carcls.inference.view_priors`.

    python -m benchmarks.views results/cars10_seed0 results/bodies9_seed0 ... [--write]

Seconds a study; nothing is trained or predicted. `retrain/out_of_fold.npz` holds what the models of a study say of the
photos that they did not train on. A gain is the temperature-scaled log-loss that a set of views saves over `plain`, in
nats per photo, with its standard error; photos that look alike count as one. Below the prior stands what the shipped
rule chooses for each study with a prior from the other data sets alone, and what that saves on photos that had no say.
With --write the shipped table is replaced.
"""

import argparse
import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import machine, quiet, table

quiet()

from carcls.inference import view_priors  # noqa: E402 - after `quiet`: they bring albumentations
from carcls.inference.recorded_views import RecordedViews  # noqa: E402 - after `quiet`
from carcls.inference.tta import PLAIN, VIEWS, ByView  # noqa: E402 - after `quiet`
from carcls.inference.view_choice import choose_views  # noqa: E402 - after `quiet`
from carcls.inference.view_priors import Priors, RecordedStudy, ViewPrior, Views, priors_of  # noqa: E402 - after `quiet`
from carcls.scoring.gains import Normal, mean_gain  # noqa: E402 - after `quiet`
from carcls.splits.k_folds import read_folds  # noqa: E402 - after `quiet`
from carcls.splits.look_alikes import look_alikes  # noqa: E402 - after `quiet`
from search.experiment.experiment import load  # noqa: E402 - after `quiet`
from search.study.folder import StudyFolder  # noqa: E402 - after `quiet`

TABLE = Path(view_priors.__file__).with_name(view_priors.TABLE)
_UNKNOWN = ViewPrior(Normal(0.0, np.inf), models=0, data_sets=0)
_CONFIDENCE = 0.9


@dataclass(frozen=True, eq=False, slots=True)
class OutOfFold:
    """What the models of a finished study say of the photos that they did not train on."""

    data_set: str
    study: str
    by_view: ByView
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    """(n,) the model that predicted each photo."""
    units: NDArray[np.int64]

    def rows(self, some: NDArray[np.int64]) -> "OutOfFold":
        """Some of the photos."""
        by_view = {view: said[some] for view, said in self.by_view.items()}
        return OutOfFold(self.data_set, self.study, by_view, self.labels[some], self.folds[some], self.units[some])


def main() -> None:
    arguments = _parse()
    found = [read_out_of_fold(StudyFolder(path)) for path in arguments.studies]
    studies = [measured(one) for one in found]
    print(f"{machine()}\n\ngains in nats per photo over {PLAIN}, ± standard error")
    print(
        table(
            ("views", *(f"{one.study}, {one.models} models, {one.photos} photos" for one in studies)),
            gain_rows(studies),
        )
    )
    print("\ngains in points of accuracy")
    print(table(("views", *(one.study for one in studies)), accuracy_rows(found)))
    print("\nprior, mean and standard deviation of the gain on one more data set")
    print(table(("views", "mean", "s.d.", "models", "data sets"), prior_rows(priors_of(studies))))
    print("\nchosen with a prior from the other data sets, and by the photos alone")
    print(
        table(
            ("study", "prior, all photos", "prior, first fold", "alone, all photos", "alone, first fold"),
            chosen_rows(found, studies),
        )
    )
    print("\nchosen on one fold: nats a photo saved on the others, mean over folds")
    print(table(("study", "with the prior", "by photos alone"), saved_rows(found, studies)))
    if arguments.write:
        write(studies, ["python", "-m", "benchmarks.views", *(f"results/{one.study}" for one in studies), "--write"])


def read_out_of_fold(folder: StudyFolder) -> OutOfFold:
    """Of a study whose final training on several folds is finished."""
    if not folder.out_of_fold.exists():
        raise SystemExit(
            f"{folder.out_of_fold}: missing; expected a study with a finished final training on 2 folds or more"
        )
    root = load(folder.experiment).data.root
    folds = read_folds(folder.retrain_study.folds, root)
    with np.load(folder.out_of_fold) as stored:
        by_view = {name.removeprefix("view/"): stored[name] for name in stored.files if name.startswith("view/")}
        ids, labels, numbers = stored["ids"], stored["labels"], stored["folds"]
    splits = [folds.split(number) for number in range(folds.count)]
    if [id_ for split in splits for id_ in split.validation.ids] != ids.tolist():
        raise SystemExit(f"{folder.out_of_fold}: not the photos of {folder.retrain_study.folds}")
    return OutOfFold(root.name, folder.name, by_view, labels, numbers, look_alikes(splits))


def measured(one: OutOfFold) -> RecordedStudy:
    """The gain of each set of its views."""
    sets = _sets(one)
    everything = np.arange(len(one.labels))
    gains = {views: sets.measured(place, everything) for place, views in enumerate(sets.views)}
    return RecordedStudy(one.data_set, one.study, len(np.unique(one.folds)), len(one.labels), gains)


def _sets(one: OutOfFold) -> RecordedViews:
    return RecordedViews.of(one.by_view, one.labels, one.units, dict.fromkeys(sets_of(one.by_view), _UNKNOWN))


def sets_of(views: Iterable[str]) -> tuple[Views, ...]:
    """Every set of `plain` and one view or more."""
    others = [view for view in VIEWS if view != PLAIN and view in views]
    return tuple((PLAIN, *some) for count in range(1, len(others) + 1) for some in combinations(others, count))


def gain_rows(studies: Sequence[RecordedStudy]) -> list[tuple[str, ...]]:
    sets = dict.fromkeys(views for one in studies for views in one.gains)
    return [
        (", ".join(views), *(_gain(one.gains[views]) if views in one.gains else "" for one in studies))
        for views in sets
    ]


def accuracy_rows(found: Sequence[OutOfFold]) -> list[tuple[str, ...]]:
    """Told beside the log-loss, which decides."""
    gains: dict[Views, dict[str, str]] = defaultdict(dict)
    for one in found:
        sets = _sets(one)
        for views, misses in zip(sets.views, sets.misses[:-1], strict=True):
            gain = mean_gain(100 * (sets.misses[-1] - misses), one.units)
            gains[views][one.study] = f"{gain.mean:+.2f} ± {gain.sd:.2f}"
    return [(", ".join(views), *(told.get(one.study, "") for one in found)) for views, told in gains.items()]


def prior_rows(priors: Priors) -> list[tuple[object, ...]]:
    return [
        (", ".join(views), f"{one.gain.mean:+.4f}", f"{one.gain.sd:.4f}", one.models, one.data_sets)
        for views, one in priors.items()
    ]


def chosen_rows(found: Sequence[OutOfFold], studies: Sequence[RecordedStudy]) -> list[tuple[str, ...]]:
    """By the shipped rule, and by the paired bootstrap alone, as views without a prior are judged."""
    rows = []
    for one in found:
        parts = (one, one.rows(np.flatnonzero(one.folds == 0)))
        ways = (_priors_for(one, studies), {})
        rows.append((one.study, *("+".join(_chosen(part, priors)) for priors in ways for part in parts)))
    return rows


def saved_rows(found: Sequence[OutOfFold], studies: Sequence[RecordedStudy]) -> list[tuple[str, ...]]:
    """What views chosen on the photos of one fold save on the others, whose photos had no say."""
    rows = []
    for one in found:
        ways = (_priors_for(one, studies), {})
        saved = [np.mean([_saved_elsewhere(one, fold, way) for fold in np.unique(one.folds)]) for way in ways]
        rows.append((one.study, *(f"{gain:+.4f}" for gain in saved)))
    return rows


def _priors_for(one: OutOfFold, studies: Sequence[RecordedStudy]) -> Priors:
    return priors_of(study for study in studies if study.data_set != one.data_set)


def _saved_elsewhere(one: OutOfFold, fold: int, priors: Priors) -> float:
    views = _chosen(one.rows(np.flatnonzero(one.folds == fold)), priors)
    return measured(one.rows(np.flatnonzero(one.folds != fold))).gains[views].mean if len(views) > 1 else 0.0


def write(studies: Sequence[RecordedStudy], command: Sequence[str], path: Path = TABLE) -> None:
    """Replaces the shipped table."""
    source = {"command": shlex.join(command), "date": datetime.now(UTC).strftime("%Y-%m-%d")}
    rows = ",\n".join(f"    {json.dumps(one.to_json())}" for one in studies)
    path.write_text(f'{{\n  "source": {json.dumps(source)},\n  "studies": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def _chosen(one: OutOfFold, priors: Priors) -> Views:
    """In the order of the views, as `sets_of` has them."""
    choice = choose_views(one.by_view, one.labels, confidence=_CONFIDENCE, seed=0, priors=priors, units=one.units)
    return tuple(view for view in VIEWS if view in choice.views)


def _gain(gain: Normal) -> str:
    return f"{gain.mean:+.4f} ± {gain.sd:.4f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__)
    parser.add_argument(
        "studies", nargs="+", type=Path, metavar="STUDY", help="folder of a study with a final training"
    )
    parser.add_argument("--write", action="store_true", help="replace the shipped table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
