"""The table of artefacts for `carsearch store ls`. Reads their trailers, changes nothing."""

from collections.abc import Sequence

from carcls.store.artefact import artefact_name, description
from carcls.store.inventory import Entry
from search.terminal.formatting import size_text
from search.terminal.text_table import table_lines

_HEADINGS = ("artefact", "shape", "dtype", "size", "made", "last use", "in use", "of")


def store_table(entries: Sequence[Entry], *, now_unix_s: float) -> list[str]:
    """A line for each artefact, with a header and a total."""
    if not entries:
        return ["empty"]
    rows = [_HEADINGS, *(_row(entry, now_unix_s) for entry in entries)]
    total = sum(entry.size_bytes for entry in entries)
    return [*table_lines(rows, left=range(len(_HEADINGS))), f"{len(entries)} artefacts, {size_text(total)}"]


def _row(entry: Entry, now_unix_s: float) -> tuple[str, ...]:
    size, last_use = size_text(entry.size_bytes), age_text(now_unix_s - entry.last_use_unix_s)
    held = "yes" if entry.is_held else "no"
    trailer = entry.read_trailer()
    if trailer is None:
        name = "damaged" if entry.is_finished else "being built" if entry.is_held else "left by a dead builder"
        return (name, "", "", size, "", last_use, held, entry.path.name)
    artefact = trailer.artefact
    shape = " x ".join(f"{side:,}" for side in artefact.shape)
    made = age_text(now_unix_s - trailer.created_unix_s)
    return (
        artefact_name(artefact.key),
        shape,
        artefact.dtype.name,
        size,
        made,
        last_use,
        held,
        description(artefact.key),
    )


def age_text(seconds: float) -> str:
    """The largest whole unit: '3 h ago'."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds // length_s:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
