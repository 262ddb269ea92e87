"""Pages with one section per benchmark as text, each section replaced alone: docs/performance.md and others. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_OPENING = """\
# How fast is it?

The command above each figure printed it, on the machine and at the commit that its section names. `make benchmarks`
runs all; `python -m benchmarks NAME` runs one and replaces only its section. Misses are reported too.
"""
_MARKER = re.compile(r"^<!-- benchmark: (?P<name>[a-z_]+) -->$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark's run, as recorded."""

    name: str
    title: str
    command: str
    output: str
    """All that it printed, the JSON line included."""
    date: str
    commit: str
    machine: str
    versions: str
    seconds: float
    fenced: bool = True
    """Whether what it printed is shown as it stands; else it is Markdown."""


def split_output(output: str) -> tuple[str, Mapping[str, Any]]:
    """(the table, the last line as JSON). Raises ValueError where the last line is not one JSON object with `holds`."""
    body, _, last = output.rstrip().rpartition("\n")
    try:
        line = json.loads(last)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a JSON object on the last line, found {last[:80]!r}") from error
    if not isinstance(line, dict) or "holds" not in line or "name" not in line:
        raise ValueError(f"expected an object with `name` and `holds` on the last line, found {last[:80]!r}")
    return body.rstrip(), line


def section(run: Run) -> str:
    """One benchmark's section, without its marker."""
    shown, line = split_output(run.output)
    output = f"```\n$ {run.command}\n{shown}\n```" if run.fenced else f"```\n$ {run.command}\n```\n\n{shown}"
    return (
        f"## {run.name}: {run.title}\n\n"
        f"**{'Holds' if line['holds'] else 'Misses'}.** {run.date}, commit {run.commit}, {run.seconds:.0f} s on"
        f" {run.machine}; {run.versions}.\n\n"
        f"{output}\n\n"
        f"```json\n{json.dumps(line)}\n```\n"
    )


def sections(page: str) -> dict[str, str]:
    """Section by benchmark name, from a page that `render` wrote; nothing from any other text."""
    marks = list(_MARKER.finditer(page))
    ends = [mark.start() for mark in marks] + [len(page)]
    return {mark["name"]: page[mark.end() : end].strip() + "\n" for mark, end in zip(marks, ends[1:], strict=True)}


def render(by_name: Mapping[str, str], order: Sequence[str]) -> str:
    """The whole page: sections in `order`; those of benchmarks that are no more are left out."""
    kept = [f"<!-- benchmark: {name} -->\n\n{by_name[name]}" for name in order if name in by_name]
    return "\n".join([_OPENING, *kept])


def replaced(page: str, name: str, text: str) -> str:
    """A page written by hand, with one benchmark's section in place of its former one, or at the end.

    The section reaches from its marker to the next benchmark's or to the end: nothing by hand may stand behind it.
    """
    marks = list(_MARKER.finditer(page))
    at = next((number for number, mark in enumerate(marks) if mark["name"] == name), None)
    before = page[: marks[at].start()] if at is not None else page.rstrip() + "\n\n"
    after = page[marks[at + 1].start() :] if at is not None and at + 1 < len(marks) else ""
    return f"{before}<!-- benchmark: {name} -->\n\n{text}" + (f"\n{after}" if after else "")
