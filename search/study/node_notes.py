"""What a study remembers of its latest run's nodes, for `carsearch status --nodes` and the report."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.policy.node_health import NodeHealth, state_of
from search.policy.records import TrialRecord
from search.study.study import Study

NODES_KEY = "nodes"
"""Key of the study's value."""


@dataclass(frozen=True, slots=True)
class NodeNote:
    """One node of a cluster."""

    name: str
    state: str
    """As `state_of` names it, or `seen` for nodes of earlier runs."""
    attempts: int
    epochs: int
    faults: int
    """Since its last epoch, in the latest run."""
    cause: str
    """One line on its latest fault; empty without one."""


def node_notes(study: Study) -> tuple[NodeNote, ...]:
    """All nodes on which this study has trained, and those of its latest run; empty if it never used a cluster."""
    text = study.get_value(NODES_KEY)
    kept: dict[str, Any] = json.loads(text) if isinstance(text, str) else {"exclude_after": 1, "nodes": []}
    latest = {one["name"]: NodeHealth.from_json(one) for one in kept["nodes"]}
    attempts, epochs = attempts_by_node(study.records()), epochs_by_node(study.records())
    return tuple(
        NodeNote(
            name=name,
            state=state_of(latest[name], kept["exclude_after"]) if name in latest else "seen",
            attempts=attempts[name],
            epochs=epochs[name],
            faults=latest[name].faults if name in latest else 0,
            cause=latest[name].cause if name in latest else "",
        )
        for name in sorted({*latest, *attempts})
    )


def attempts_by_node(records: Sequence[TrialRecord]) -> Counter[str]:
    """Number of attempts that ran on each node. Pure."""
    return Counter(name for record in records for name in record.nodes if name)


def epochs_by_node(records: Sequence[TrialRecord]) -> Counter[str]:
    """Number of recorded epochs that each node has trained. Pure."""
    found: Counter[str] = Counter()
    for record in records:
        for report in record.reports:
            attempt = int(report.checkpoint.partition("/")[0].removeprefix("attempt-"))
            if attempt < len(record.nodes) and record.nodes[attempt]:
                found[record.nodes[attempt]] += 1
    return found


def node_lines(notes: Sequence[NodeNote]) -> tuple[str, ...]:
    """One line for each node, for the terminal."""
    return tuple(
        f"node {note.name}: {note.state}, {note.attempts} attempts, {note.epochs} epochs"
        + (f", {note.faults} faults: {note.cause}" if note.cause else "")
        for note in notes
    )
