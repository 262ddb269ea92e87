"""Files beside the page for other programs: leaderboard.csv, leaderboard.json, mistakes.csv."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from carcls.system import atomic
from carcls.system.csv_cells import readable_cell
from search.report.page_data import TrialRow

_MISTAKES = ("path", "label", "predicted", "probability", "probability_of_label", "label_is_doubtful")


def write_leaderboard(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Writes leaderboard.csv and leaderboard.json, best trial first, with a column for each parameter.

    Raises OSError if the folder is not writable.
    """
    entries = [leaderboard_entry(row) for row in rows]
    params = list(dict.fromkeys(name for row in rows for name in row.params))
    fixed = [name for name in leaderboard_entry_names() if name != "params"]
    lines = [[*(entry[name] for name in fixed), *(entry["params"].get(name) for name in params)] for entry in entries]
    write_csv(folder / "leaderboard.csv", [*fixed, *params], lines)
    # A line for each trial: with indent=, Python encodes without its C code, ten times as slowly.
    texts = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
    atomic.write_text(folder / "leaderboard.json", f"[\n{texts}\n]\n")


def leaderboard_entry(row: TrialRow) -> dict[str, Any]:
    """One trial as plain JSON values; scores are null before the first epoch."""
    score = row.score
    values = (
        row.number,
        row.state,
        row.role,
        row.stages_ended,
        row.stage_count,
        row.epochs,
        round(row.seconds, 3),
        score.accuracy if score else None,
        score.log_loss if score else None,
        score.macro_f1 if score else None,
        score.holdout_accuracy if score else None,
        dict(row.params),
    )
    return dict(zip(leaderboard_entry_names(), values, strict=True))


def leaderboard_entry_names() -> tuple[str, ...]:
    """The keys of an entry, in order."""
    return (
        "trial",
        "state",
        "role",
        "stages_ended",
        "stages",
        "epochs",
        "seconds",
        "accuracy",
        "log_loss",
        "macro_f1",
        "holdout_accuracy",
        "params",
    )


def write_mistakes(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes mistakes.csv from the rows of `search.report.sections.mistakes.mistake_rows`. Raises OSError."""
    write_csv(path, _MISTAKES, rows)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file atomically: texts are safe for terminals and spreadsheets, None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, header))
    writer.writerows(list(map(_cell, row)) for row in rows)
    atomic.write_text(path, text.getvalue().encode("utf-8", "replace").decode("utf-8"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else readable_cell(str(value))
