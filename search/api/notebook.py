"""A study as a small table of HTML, which notebooks show. Pure."""

from collections.abc import Sequence
from html import escape

from search.policy.records import TrialRecord, TrialState, searched
from search.progress.summary import state_name
from search.terminal.formatting import params_text

_ROWS = 8


def study_html(lines: Sequence[str], records: Sequence[TrialRecord]) -> str:
    """Lines about the study, then its best trials. Everything from users' data is escaped."""
    told = "<br>".join(escape(line) for line in lines)
    ranked = sorted(
        (record for record in searched(records) if record.best and record.state is not TrialState.FAIL),
        key=lambda record: (record.best_rank or (0.0, 0.0), -record.number),
        reverse=True,
    )
    titles = ("trial", "state", "epochs", "accuracy", "log-loss", "parameters")
    head = "".join(f"<th>{title}</th>" for title in titles)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(record))}</tr>" for record in ranked[:_ROWS]
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    more = f"<p>and {len(ranked) - _ROWS} more</p>" if len(ranked) > _ROWS else ""
    return f"<div><p>{told}</p>{table}{more}</div>"


def _cells(record: TrialRecord) -> tuple[str, ...]:
    best = record.best
    return (
        f"{record.number:04d}",
        state_name(record),
        str(record.fidelity),
        f"{best.val_accuracy:.4f}" if best else "",
        f"{best.val_log_loss:.4f}" if best else "",
        params_text(record.params),
    )
