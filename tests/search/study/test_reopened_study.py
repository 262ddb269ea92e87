"""What the next process finds in a study: after a move, a cut, a power failure, or another writer."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState as OptunaState

from search.errors import StudyError
from search.policy.records import TrialState
from search.policy.rungs import Ladder
from search.policy.scheduler import BudgetState, Continue, Finished, NewTrial, next_job
from search.study.study import Study
from tests.helpers import ROOT
from tests.helpers.search.trial_builders import epoch_report
from tests.helpers.search.written_study import optuna_trials, reopened, started, train


def test_missing_and_existing_studies_are_errors(folder: Path):
    with pytest.raises(StudyError, match=r"no study in .*cars: expected study\.log"):
        Study.open(folder)
    Study.create(folder, "cars").close()
    with pytest.raises(StudyError, match="exists already"):
        Study.create(folder, "cars")
    (folder / "study.log").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StudyError, match="holds no study"):
            Study.open(folder)


def test_a_study_may_be_moved(folder: Path):
    study = Study.create(folder, "cars")
    started(study)
    before = study.records()
    study.close()
    (folder / "study.log.lock").symlink_to(
        folder / "study.log"
    )  # an append lock of a killed writer, stale and dangling
    moved = folder.rename(folder.parent / "elsewhere")
    with Study.open(moved) as study:
        assert study.records() == before
        assert started(study) == 1


@pytest.mark.parametrize("torn", [b"{", b'{"op_code":8,"worker_id":"x","trial_id":0,"user_attr":{"sta', b'{"op_code"'])
def test_a_torn_last_line_is_cut(folder: Path, torn: bytes):
    study = Study.create(folder, "cars")
    study.report(started(study), epoch_report(1))
    before = study.records()
    study.close()
    with (folder / "study.log").open("ab") as log:
        log.write(torn)
    with Study.open(folder, read_only=True) as reader:
        assert reader.records() == before
    study = Study.open(folder)
    study.report(0, epoch_report(2))
    after = study.records()
    study = reopened(study, folder)
    assert study.records() == after
    assert all(json.loads(line) for line in (folder / "study.log").read_text().splitlines())
    study.close()


@given(st.integers(min_value=1, max_value=4000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_study_cut_at_any_byte_opens_in_an_earlier_state(tmp_path: Path, lost_bytes: int):
    folder = tmp_path / f"cut-{lost_bytes}-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    study = Study.create(folder, "cars")
    train(study, started(study, stop_after_stage=2), [0.5], [0.5], [0.75])
    study.reach_stage(0)
    whole = study.record(0)
    study.close()
    log = folder / "study.log"
    created = log.read_bytes().index(b'"op_code":4')
    content = log.read_bytes()
    log.write_bytes(content[: max(created, len(content) - lost_bytes)])
    with Study.open(folder) as study:
        for record in study.records():
            assert record.reports == whole.reports[: record.fidelity]
        study.interrupt_running()
        assert all(record.state in (TrialState.WAITING, TrialState.COMPLETE) for record in study.records())


def test_a_state_that_did_not_reach_optuna_is_sent_on_opening(folder: Path):
    study = Study.create(folder, "cars")
    train(study, started(study, stop_after_stage=2), [0.5], [0.5], [0.75])
    study.reach_stage(0)
    study.close()
    log = folder / "study.log"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    assert optuna_trials(folder)[0].state is OptunaState.RUNNING
    Study.open(folder).close()
    assert (optuna_trials(folder)[0].state, optuna_trials(folder)[0].value) == (OptunaState.COMPLETE, 0.75)


WRITER = """
    import sys
    sys.path.insert(0, {root!r})
    from pathlib import Path
    from tests.helpers.search.written_study import CONFIG, RATE
    from tests.helpers.search.trial_builders import epoch_report
    from search.study.study import Study

    study = Study.create(Path({folder!r}), "cars")
    print("open", flush=True)
    while True:
        number = study.add_trial({{RATE: 1e-3}}, CONFIG)
        study.start_segment(number, 0)
        study.report(number, epoch_report(1))
        print(number, flush=True)
"""


@pytest.fixture
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that creates the study and keeps writing to it."""
    script = textwrap.dedent(WRITER).format(root=str(ROOT), folder=str(folder))
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_refused(folder: Path, writer: subprocess.Popen[str]):
    assert writer.stdout.readline() == "open\n"
    recorded = [int(writer.stdout.readline()) for _ in range(5)]
    with pytest.raises(StudyError, match=f"in use by process {writer.pid} on {os.uname().nodename}"):
        Study.open(folder)
    with Study.open(folder, read_only=True) as reader:
        assert len(reader.records()) >= 5
        with pytest.raises(StudyError, match="is read-only or closed"):
            reader.set_elapsed_s(1.0)
    writer.kill()
    recorded += [int(line) for line in writer.stdout]
    writer.wait()
    with Study.open(folder) as study:
        assert [study.record(number).fidelity for number in recorded] == [1] * len(recorded)
        assert started(study) >= len(recorded)


@given(st.randoms(), st.integers(3, 6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reopened_study_decides_like_the_lost_one(tmp_path_factory, chance: Random, trials: int):
    folder = tmp_path_factory.mktemp("study")
    study = Study.create(folder, "cars")
    ladder = Ladder(2)
    for _ in range(200):
        budget = BudgetState(trials - len(study.records()), exhausted=False)
        job = next_job(study.records(), ladder, budget)
        if chance.random() < 0.2:
            before = study.records()
            study = reopened(study, folder)
            assert study.records() == before
            assert next_job(study.records(), ladder, budget) == job
        match job:
            case Finished():
                break
            case NewTrial():
                started(study, rate=chance.choice([1e-4, 1e-3]), is_baseline=not study.records())
            case Continue():
                study.start_segment(job.number, job.stop_after_stage, run_to_end=job.run_to_end)
        _end_one(study, chance)
    assert {record.state for record in study.records()} <= {TrialState.COMPLETE, TrialState.PAUSED}
    assert study.record(0).state is TrialState.COMPLETE
    study.close()


def _end_one(study: Study, chance: Random) -> None:
    record = next(record for record in study.records() if record.state is TrialState.RUNNING)
    while not record.has_ended(record.stop_after_stage):
        stage = record.next_stage
        accuracy = chance.choice([0.25, 0.5, 0.75])
        study.report(record.number, epoch_report(record.fidelity + 1, stage=stage, accuracy=accuracy, ended=True))
        record = study.record(record.number)
    study.reach_stage(record.number)
