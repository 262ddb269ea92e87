from pathlib import Path

import pytest

from search.driver.dispatch import Dispatcher, WorkerSettings
from search.experiment.experiment import load
from search.policy.policy import search_policy
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.search.cluster.dispatch_desk import CPU, Clock, Desk, Listening
from tests.search.tiny import EXPERIMENT


@pytest.fixture
def open_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    folder = StudyFolder(tmp_path / "study")
    opened: list[Study] = []

    def desk(*overrides: str, worker: WorkerSettings = CPU) -> Desk:
        experiment = load(Path("tiny.yaml"), overrides)
        for study in opened:
            study.close()
        if folder.log.exists():
            opened.append(Study.open(folder.root))
        else:
            folder.trials.mkdir(parents=True)
            opened.append(Study.create(folder.root, "tiny"))
        listening, clock, study = Listening(), Clock(), opened[-1]
        dispatcher = Dispatcher(
            experiment,
            study,
            folder,
            policy=search_policy(experiment),
            worker=worker,
            listeners=(listening,),
            clock_s=clock,
        )
        return Desk(experiment, study, folder, listening, clock, dispatcher)

    yield desk
    for study in opened:
        study.close()
