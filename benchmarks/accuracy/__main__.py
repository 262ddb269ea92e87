"""What each way to a final model is worth on real photos, in blocks that can be killed and called again.

    python -m benchmarks.accuracy --photos cars10 --seed 0 --arms folds,refit --work FOLDER
    python -m benchmarks.accuracy --photos cars10 bodies9 --seed 0 1 2 --work FOLDER     everything, hours
    python -m benchmarks.accuracy --table --work FOLDER                                  what there is, in seconds

One search of ten minutes for each seed and data set is shared by all arms; `benchmarks.accuracy.arms` says what each
arm trains, and which photos judge it. Every arm's exported model predicts the same held-out photos and is compared in
pairs with `folds`, the final training that was shipped until 2026-11-29. What does not help is told so. Results are
small JSON files in FOLDER/results; a call trains only what is missing there, and goes on where an earlier one was
killed. Each arm also writes its predictions of the data set's test photos, checked against its sample submission.

Use one FOLDER for one choice of --holdout, --minutes, --final, --of-hours and experiment. On two idle cores a seed
takes about 10 minutes of search, 3 for refit, and 10 for each of folds, configurations, beside, soup, rectangles,
layer_decay, small_data and small_staged; the rest is seconds.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.accuracy.arms import ARMS, DEFAULT, Options, run_arm
from benchmarks.accuracy.judging import submit
from benchmarks.accuracy.paired import COST_HEADER, HEADER, cost_rows, rows
from benchmarks.accuracy.recipes import FORMER
from benchmarks.accuracy.result import read_results, result_path
from benchmarks.accuracy.steps import ROOT, Settings
from benchmarks.harness import SHARED, machine, quiet, table

SUBMISSIONS = Path(__file__).resolve().parents[1] / "submissions"


def main() -> None:
    arguments = _parse()
    quiet()
    work = arguments.work.absolute()
    if not arguments.table:
        for settings in _settings(arguments, work):
            _run(settings, arguments)
    print_tables(work)


def _settings(arguments: argparse.Namespace, work: Path) -> Iterator[Settings]:
    for photos in arguments.photos:
        for seed in arguments.seed:
            yield Settings(
                experiment=arguments.experiment.absolute(),
                photos=photos,
                root=(arguments.data / photos).absolute(),
                seed=seed,
                holdout=arguments.holdout,
                minutes=arguments.minutes,
                trials=arguments.trials,
                work=work,
                final=FORMER if arguments.final is None else arguments.final,
                of_hours=arguments.of_hours,
            )


def _run(settings: Settings, arguments: argparse.Namespace) -> None:
    """Every arm that has no result yet."""
    options = Options(arguments.configurations, arguments.branches, arguments.layer_decay, arguments.hours)
    settings.work.mkdir(parents=True, exist_ok=True)
    for arm in arguments.arms:
        if result_path(settings.work, settings.photos, settings.seed, arm).exists():
            continue
        print(f"\n{settings.name}, {arm}", flush=True)
        result, answers = run_arm(settings, arm, options)
        submit(settings, answers, arguments.submissions / f"{settings.name}_{arm}.csv")
        result.write(settings.work)  # last: an arm with a result has its submission


def print_tables(work: Path) -> None:
    """From the results that there are."""
    order = list(ARMS)
    found = sorted(read_results(work), key=lambda one: (one.photos, order.index(one.arm), one.seed))
    print(f"\n{machine()}; {len(found)} results in {work}")
    for part, title in (
        ("held_out", "held-out photos, by the exported model with its views"),
        ("out_of_fold", "out-of-fold photos, plain, each by the models that did not train on it"),
    ):
        told = list(rows(found, part))
        if told:
            print(f"\n{title}\n{table(HEADER, told)}")
    print("\nwhat they took beside the shared search and the arms that they need")
    print(table(COST_HEADER, list(cost_rows(found))))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of studies and results")
    parser.add_argument("--photos", nargs="+", default=["cars10"], metavar="NAME", help="data sets (cars10)")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], metavar="N", help="seeds of the split (0)")
    parser.add_argument("--arms", type=_arms, default=DEFAULT, help=f"by commas ({','.join(DEFAULT)}); also hours")
    parser.add_argument("--table", action="store_true", help="print the tables of what there is, and train nothing")
    parser.add_argument(
        "--holdout", type=float, default=0.2, help="share of the labelled photos, 0: none (%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each search (%(default)s)")
    parser.add_argument("--trials", type=int, default=100, help="of each search, at most (%(default)s)")
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="folder of the data sets (%(default)s)")
    experiment = ROOT / "experiments" / "cars10.yaml"
    parser.add_argument("--experiment", type=Path, default=experiment, help="file to search and train (%(default)s)")
    parser.add_argument(
        "--final", help="setting of the final training of `folds`, '': the file's (the one until 2026-11-29)"
    )
    parser.add_argument(
        "--of-hours", action="store_true", help="all arms share the search and the final training of the arm hours"
    )
    parser.add_argument("--submissions", type=Path, default=SUBMISSIONS, help="folder to write them to (%(default)s)")
    defaults = Options()
    parser.add_argument(
        "--configurations", type=int, choices=(2, 3), default=defaults.configurations, help="averaged (%(default)s)"
    )
    parser.add_argument("--branches", type=int, default=defaults.branches, help="of the soup (%(default)s)")
    parser.add_argument("--layer-decay", type=float, default=defaults.layer_decay, help="(%(default)s)")
    parser.add_argument("--hours", type=float, default=defaults.hours, help="of the arm hours (%(default)s)")
    arguments = parser.parse_args()
    if arguments.of_hours and arguments.final:
        parser.error("--of-hours takes the final training of the arm hours, so --final cannot change it")
    arguments.submissions = arguments.submissions.absolute()
    os.chdir(ROOT)
    return arguments


def _arms(text: str) -> tuple[str, ...]:
    """In the order in which they build on each other. Raises argparse.ArgumentTypeError for an unknown one."""
    asked = text.split(",")
    unknown = [arm for arm in asked if arm not in ARMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no arm {', '.join(unknown)}; expected {', '.join(ARMS)}")
    return tuple(arm for arm in ARMS if arm in asked)


if __name__ == "__main__":
    main()
