"""Hosts that join a running search."""

import pytest

from search.policy.records import TrialState
from search.study.node_notes import node_notes
from search.study.study import Study
from tests.cluster.place import Place
from tests.helpers.search.processes import kill, run_cli

pytestmark = pytest.mark.fault


def test_late_joiners_are_used_if_they_work_and_named_if_they_have_no_photos(place: Place) -> None:
    place.add()
    driver = place.run("--set", "search.trials=8")
    try:
        place.await_epochs(driver, 1)
        broken = place.add(photos=False)
        works = place.add()
        assert driver.wait(timeout=300) == 0, place.output()
    finally:
        kill({driver.pid})
    records = place.records()
    assert len(records) == 8
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert not any(record.deaths for record in records), "a broken node is no death"
    notes = {note.name: note for note in node_notes(Study.open(place.folder.root, read_only=True))}
    assert notes[broken.name].state == "excluded"
    assert notes[broken.name].epochs == 0
    assert notes[works.name].epochs > 0
    assert f"{broken.name} gets no more trials in this run" in place.output()
    assert "ERROR" not in place.output()
    status = run_cli("status", str(place.folder.root), "--nodes", cwd=place.cwd)
    assert f"node {broken.name}: excluded" in status.stdout
    assert str(place.cwd / "data") in status.stdout, "the missing photo is named"
    assert broken.name in place.folder.report.read_text(encoding="utf-8")
