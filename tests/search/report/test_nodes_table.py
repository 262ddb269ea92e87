"""The report's table of a cluster's nodes."""

import re

from search.policy.records import TrialState
from search.report import report_data
from search.report.html import render
from search.study.node_notes import NodeNote
from tests.helpers.search.trial_builders import climb, trial

RECORDS = (trial(0, TrialState.COMPLETE, climb([0.5])),)


def page(*nodes: NodeNote) -> str:
    data = report_data(name="cars", experiment_text="", records=RECORDS, validation_photos=9, nodes=nodes)
    return re.sub(r"\s*<[^>]*>\s*", "|", render(data))


def test_an_excluded_node_is_named_with_its_fault() -> None:
    shown = page(NodeNote("node-b", "excluded", attempts=2, epochs=7, faults=2, cause="no <photos> there"))
    assert re.search(r"\|Nodes\|", shown)
    assert re.search(r"node-b\|+excluded\|+2\|+7\|+no &lt;photos&gt; there\|", shown)


def test_without_a_cluster_there_is_no_table() -> None:
    assert "|Nodes|" not in page()
