"""A failing GPU on Ray, whose GPUs are only numbers here: its trials continue on the other one."""

from collections.abc import Iterator

import pytest
import ray

from search.driver.interrupts import Interrupts
from search.driver.study_dispatch import WorkerSettings
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.connection import connected
from search.on_ray.nodes import ResourcePlan
from search.on_ray.ray_executor import RayExecutor
from search.policy.records import TrialState
from tests.helpers.search.scripted import scripted_segment_in_actor, write_script

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(300)]
ONE_GPU = WorkerSettings(threads=1, gpu_share=1.0, store={}, deterministic=True)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    start = ray.init
    monkeypatch.setattr(ray, "init", lambda **options: start(**options, num_cpus=4, num_gpus=2))
    with connected(None):
        yield


def test_a_gpu_that_fails_twice_is_kept_occupied_until_the_search_ends(open_desk, two_gpus) -> None:
    del two_gpus
    desk = open_desk(
        "search.scheduler={kind: none}",
        "search.trials=6",
        "search.max_restarts=0",
        "train.head={batch_norm: false, dropout: 0.0}",
        worker=ONE_GPU,
    )
    script = {f"{number}/{attempt}": ["break gpu 1"] for number in range(6) for attempt in range(6)}
    write_script(desk.folder.root, script)
    executor = RayExecutor(
        desk.folder,
        ResourcePlan(cpus=1, gpus=1.0, concurrent=2),
        deadline=DeadlineSettings(),
        interrupts=Interrupts(),
        how="call it again",
        trainable=scripted_segment_in_actor,
    )
    executor.run(desk.dispatcher)
    assert desk.dispatcher.finished
    records = desk.study.records()
    assert [(record.state, record.deaths) for record in records] == [(TrialState.COMPLETE, ())] * 6
    (excluded,) = desk.dispatcher.excluded_gpus()
    assert excluded.startswith("GPU 1 of ")
    causes = [record.attempts - 1 for record in records]
    assert 2 <= sum(causes) <= 4, "two faults, and what was given back before the GPU was parked"
