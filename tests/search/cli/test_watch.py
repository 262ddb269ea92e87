"""`carsearch status --watch` follows a search from another process."""

from search.cli.watch import watch
from search.experiment.experiment import load
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran
from tests.helpers.search.tiny import EXPERIMENT


def test_a_finished_study_is_shown_once(finished: Ran):
    done = run_cli("status", str(finished.folder.root), "--watch", cwd=finished.cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tiny: ") == 3, "at the start, at the end, and the status"


def test_what_a_driver_does_meanwhile_is_printed(tmp_path, monkeypatch, capsys):
    """The driver is this process: it acts while the watcher pauses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    experiment, folder = load(tmp_path / "tiny.yaml"), StudyFolder(tmp_path / "study")
    folder.trials.mkdir(parents=True)
    study = Study.create(folder.root, "tiny")
    config = experiment.bind(experiment.baseline)
    steps = [
        lambda: study.add_trial(dict(experiment.baseline), config, is_baseline=True),
        lambda: study.start_segment(0, 0),
        study.close,
    ]
    monkeypatch.setattr("time.sleep", lambda seconds: steps.pop(0)())
    watch(folder, experiment, pause_s=0.0)
    told = capsys.readouterr().out
    assert "trial 0000 started (baseline)" in told
    assert "1 running" in told
    assert steps == []
    assert Study.open(folder.root, read_only=True).record(0).state is TrialState.RUNNING
