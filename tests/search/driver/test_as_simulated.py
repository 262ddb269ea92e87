"""Given the same events in the same order, a real dispatcher and study decide as the simulator does."""

import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.experiment.domains import Value
from search.experiment.experiment import Experiment, load
from search.experiment.search_settings import BudgetSettings, FinalistSettings
from search.experiment.space import Space
from search.policy.policy import Proposal, search_policy
from search.policy.records import TrialRecord, TrialState, searched
from search.simulator.blackboxes import Training
from search.simulator.faults import Faults
from search.simulator.simulate import simulate
from search.simulator.simulation import Simulation
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome, Segment
from tests.helpers.search.blackbox_builders import Log, curve
from tests.helpers.search.tiny import EXPERIMENT

DEATH = "its worker died"


THREE_STAGES = (
    "train.stages=[{name: head, unfreeze: 0.0, epochs: 2, learning_rate: {loguniform: [1e-3, 1e-2]}},"
    " {name: half, unfreeze: 0.1, epochs: 1, learning_rate: 1e-3},"
    " {name: top, unfreeze: 0.2, epochs: 1, learning_rate: 1e-3}]"
)
LADDERS = {"asha": (), "adaptive": ("search.scheduler.kind=adaptive", THREE_STAGES)}


@dataclass(frozen=True)
class RandomCurves:
    """Curves with the tiny experiment's stages that depend only on the parameters; some are infeasible."""

    space: Space
    baseline: Mapping[str, Value]
    middle: int
    """Stages between the first and the last."""
    size = None

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        chance = zlib.crc32(str(sorted(proposal.params.items())).encode())
        head, top = (0.25 + (chance >> shift) % 16 / 32 for shift in (0, 8))
        infeasible = chance % 5 == 0 and not proposal.is_baseline
        between = [[(2 * head + top) / 3]] * self.middle
        stages = ([head, head], *between, [] if infeasible else [top])
        seconds = float(1 + chance % 3)
        count = 2 + self.middle
        found = curve(*stages, seconds=seconds, stage_count=count, infeasible=infeasible, params=proposal.params)
        return Training(found, None)


@pytest.fixture(params=LADDERS)
def experiment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    return load(Path("tiny.yaml"), ["search.trials=30", *LADDERS[request.param]])


@pytest.mark.parametrize("finalists", [0, 1])
@pytest.mark.parametrize(
    ("workers", "faults"),
    [(1, Faults()), (3, Faults()), (3, Faults(deaths_per_hour=400.0, preemptions_per_hour=100.0, preempted_s=5.0))],
    ids=["one worker", "three workers", "three workers that die"],
)
def test_jobs_and_records_are_the_same(
    experiment: Experiment, tmp_path: Path, workers: int, faults: Faults, finalists: int
) -> None:
    middle = len(experiment.bind(experiment.baseline).stages) - 2
    budget = BudgetSettings(gpu_hours=(0.02 if finalists else 0.012) * (1 + middle))
    finals = FinalistSettings(count=finalists, seeds=2)
    settings = experiment.search.model_copy(update={"finalists": finals, "budget": budget})
    experiment = replace(experiment, search=settings)
    log = Log()
    found = simulate(
        search_policy(experiment),
        RandomCurves(experiment.space, experiment.baseline, middle=middle),
        workers=workers,
        max_trials=experiment.search.trials,
        budget_s=3600 * (budget.gpu_hours or 0.0),
        finalists=finals,
        seed=0,
        faults=faults,
        callback=log,
    )

    folder = StudyFolder(tmp_path / "study")
    folder.trials.mkdir(parents=True)
    with Study.create(folder.root, "tiny") as study:
        worker = WorkerSettings(threads=1, gpu_share=1.0, store={}, deterministic=True)
        dispatcher = StudyDispatcher(
            experiment, study, folder, policy=search_policy(experiment), worker=worker, clock_s=lambda: 0.0
        )
        for kind, record in log.heard:
            _happen(dispatcher, study, kind, record)
        assert dispatcher.next_segment() == "finished"
        assert study.budget_exhausted
        study.finish()
        assert _comparable(study.records()) == _comparable(found.records)
    _assert_it_was_worth_a_test(found, with_deaths=faults != Faults(), with_finals=finalists > 0)


def _happen(dispatcher: StudyDispatcher, study: Study, kind: str, simulated: TrialRecord) -> None:
    """Replays the events of the simulator's listener to a dispatcher, and compares each start with its own."""
    number = simulated.number
    if kind == "started":
        segment = dispatcher.next_segment()
        assert isinstance(segment, Segment)
        assert (segment.number, segment.attempt) == (number, simulated.attempts - 1)
        assert segment.stop_after_stage == simulated.stop_after_stage
        assert segment.resume == (simulated.reports[-1].checkpoint if simulated.reports else None)
        assert study.record(number).params == simulated.params
    elif kind == "reported":
        dispatcher.report(number, simulated.reports[-1])
    elif simulated.infeasible:
        dispatcher.segment_ended(number, Outcome("infeasible", simulated.cause))
    elif simulated.state in (TrialState.WAITING, TrialState.FAIL):
        dispatcher.segment_ended(number, Outcome("killed", DEATH))
    else:
        dispatcher.segment_ended(number, Outcome("ended"))


def _comparable(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records without the name of the file that only real trainings write."""
    return [replace(record, traceback=None) for record in records]


def _assert_it_was_worth_a_test(found: Simulation, *, with_deaths: bool, with_finals: bool) -> None:
    states = {record.state for record in found.records}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert any(record.infeasible for record in found.records)
    assert any(record.deaths for record in found.records) is with_deaths
    assert any(record.repeats is not None for record in found.records) is with_finals
    assert 5 < len(searched(found.records)) < 30, "the hours are used up before the trials are"
