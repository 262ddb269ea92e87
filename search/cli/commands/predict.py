"""carsearch predict: classifies photos with a model file, as text, CSV or JSON."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.exit_codes import FAILED, NO_READER
from search.terminal.console import escape_field, has_reader, say, warn

if TYPE_CHECKING:
    from carcls.inference.export import Prediction

Ranked = Sequence[tuple[str, float]]
"""Classes with their probabilities, the most likely first."""


def predict(
    model: Annotated[Path, typer.Argument(help="A model.keras file of `carsearch retrain` or `train`.")],
    files: Annotated[list[Path], typer.Argument(help="Photos to classify, or folders of them.")],
    *,
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each photo, the most likely first.")] = 1,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each photo, one a line.")] = False,
    probabilities: Annotated[
        Path | None,
        typer.Option(help="Also write this CSV file: a row for each photo, a column for each class; for blending."),
    ] = None,
) -> None:
    """Classify photos. Prints one tab-separated line each: file, class, probability.

    Tabs, newlines and control characters in names are escaped as \\t, \\n and so on, and backslashes are doubled. With
    --top the next classes follow on the same line. A photo that cannot be read is a warning, and ends in exit code 1.
    """
    from search.terminal.logs import redirect_native_stderr

    if as_csv and as_json:
        raise typer.BadParameter("give --csv or --json, not both")
    redirect_native_stderr(Path(os.devnull))
    from carcls.backend.devices import configure_for_prediction
    from carcls.dataset.unlabelled import photos_below, unusable_below
    from carcls.inference.export import load_model

    photos = [photo for path in files for photo in (photos_below(path) if path.is_dir() else (path,))]
    if not photos:
        warn(f"no photos below {', '.join(str(path) for path in files)}")
        raise typer.Exit(FAILED)
    unusable = [entry for path in files if path.is_dir() for entry in unusable_below(path)]
    for place, reason in unusable:
        warn(f"{escape_field(str(place))}: {reason}")
    configure_for_prediction()
    exported = load_model(model)
    names = exported.card.class_names
    shown = min(top, len(names))
    found = exported.predict_files(photos)
    if probabilities is not None:
        write_probabilities(probabilities, names, found)
    if as_csv:
        say(csv_line(("file", *(f"{what}_{rank + 1}" for rank in range(shown) for what in ("class", "probability")))))
    line = json_line if as_json else csv_row if as_csv else plain_line
    failed = _print(found, lambda one: line(one, one.ranked(names)[:shown]))
    if failed or unusable:
        raise typer.Exit(FAILED)


def _print(found: "Iterable[Prediction]", line: "Callable[[Prediction], str]") -> bool:
    """Prints a line for each photo; returns whether one of them could not be read."""
    failed = False
    for one in found:
        if not has_reader():
            raise typer.Exit(NO_READER)
        if one.error:
            failed = True
            warn(f"{escape_field(str(one.path))}: {escape_field(one.error)}")
        else:
            say(line(one))
    return failed


def plain_line(one: "Prediction", ranked: Ranked) -> str:
    """File, then class and probability of each rank, separated by tabs. Pure."""
    cells = [cell for label, share in ranked for cell in (escape_field(label), f"{share:.4f}")]
    return "\t".join([escape_field(str(one.path)), *cells])


def csv_row(one: "Prediction", ranked: Ranked) -> str:
    """The same as a row of CSV. Pure."""
    from carcls.system.csv_cells import readable_cell

    cells = [cell for label, share in ranked for cell in (readable_cell(label), f"{share:.6f}")]
    return csv_line((readable_cell(str(one.path)), *cells))


def json_line(one: "Prediction", ranked: Ranked) -> str:
    """The same as a JSON object. Pure."""
    top = [{"class": label, "probability": round(share, 6)} for label, share in ranked]
    return json.dumps({"file": str(one.path), "top": top})


def csv_line(cells: Sequence[str]) -> str:
    """One line of CSV without its end. Pure."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def write_probabilities(path: Path, class_names: Sequence[str], found: "Sequence[Prediction]") -> None:
    """Writes a row for each photo that could be read: its path, then the probability of each class."""
    from carcls.system import atomic
    from carcls.system.csv_cells import readable_cell

    rows = [csv_line(("file", *map(readable_cell, class_names)))]
    rows += [
        csv_line((readable_cell(str(one.path)), *(f"{share:.7g}" for share in one.probabilities)))
        for one in found
        if one.probabilities is not None
    ]
    atomic.write_text(path, "\n".join(rows) + "\n")
