"""Final trainings on the same folds, compared on the photos that each fold's model did not train on.

    python -m benchmarks.out_of_fold results/cars10 results/cars10/retrain-0003 [results/another ...]

Seconds; nothing is trained. Each is a study with a finished final training, or the folder of one beside it. The first
is compared with each of the others, and with its mean with each: one model of each fold, plain. Gains have paired
standard errors, and positive is better; log-loss is after temperature scaling; photos that look alike count as one.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.accuracy.judging import out_of_fold
from benchmarks.accuracy.paired import of_data_set
from benchmarks.accuracy.result import Judged
from benchmarks.harness import machine, table
from search.study.folder import StudyFolder

_HEADER = ("final training", "accuracy", "gain, points", "log-loss", "gain, nats")
_BESIDE = "retrain-"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.out_of_fold",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=Path, metavar="STUDY", help="compared with the others")
    parser.add_argument("others", type=Path, nargs="+", metavar="OTHER", help="studies, or folders of final trainings")
    arguments = parser.parse_args()
    first, others = final_folder(arguments.first), [final_folder(path) for path in arguments.others]
    found = {str(arguments.first): out_of_fold([first])}
    for path, other in zip(arguments.others, others, strict=True):
        found[str(path)] = out_of_fold([other])
        found[f"the mean with {path}"] = out_of_fold([first, other])
    print(machine())
    print(table(_HEADER, list(compared(found))))


def final_folder(path: Path) -> StudyFolder:
    """The study of a path, or its final training beside the first one."""
    number = path.name.removeprefix(_BESIDE)
    if number == path.name:
        return StudyFolder(path)
    return StudyFolder(path.parent).beside(int(number))


def compared(found: dict[str, Judged]) -> Iterator[Sequence[object]]:
    """A row for each by name; gains over the first."""
    base = next(iter(found.values()))
    for name, one in found.items():
        points, nats = of_data_set([(one, base)], "hits"), of_data_set([(base, one)], "scaled_losses")
        gains = (
            ("", "")
            if one is base
            else (_gain(100 * points.mean, 100 * points.error, 2), _gain(nats.mean, nats.error, 3))
        )
        yield name, f"{one.accuracy:.4f}", gains[0], f"{one.scaled_log_loss:.4f}", gains[1]


def _gain(mean: float, error: float, digits: int) -> str:
    return f"{mean:+.{digits}f} ± {error:.{digits}f}"


if __name__ == "__main__":
    main()
