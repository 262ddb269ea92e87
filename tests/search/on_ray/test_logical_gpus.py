"""GPUs that are only numbers to Ray: a failing one is granted no more, and work for the CPU occupies none."""

from collections.abc import Iterator

import pytest
import ray

from carcls.dataset.loading import load_dataset
from carcls.input.training_data import TrainingData
from carcls.splits.split import make_split
from carcls.splits.split_files import write_split
from carcls.store import take_use
from search.driver.interrupts import Interrupts
from search.driver.study_dispatch import WorkerSettings
from search.experiment.experiment import load
from search.experiment.node_store import open_store
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.cluster.nodes import Node, ResourcePlan
from search.on_ray.cluster.prebuild import prebuild
from search.on_ray.cluster.probe import probe_nodes
from search.on_ray.cluster.warmup import start_check
from search.on_ray.connection import connected
from search.on_ray.ray_executor import RayExecutor
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.worker.node_check import requirements
from tests.helpers.search.scripted import scripted_segment_in_actor, write_script
from tests.helpers.search.tiny import write_tiny

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(300)]
ONE_GPU = WorkerSettings(threads=1, gpu_share=1.0, store={}, deterministic=True)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """One node with two GPUs, as Ray believes."""
    start = ray.init
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", lambda **options: start(**options, num_cpus=4, num_gpus=2))
        with connected(None) as found:
            yield found


def test_a_gpu_that_fails_twice_is_kept_occupied_until_the_search_ends(open_desk, nodes) -> None:
    assert [node.gpus for node in nodes] == [2]
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
    again = sum(record.attempts - 1 for record in records)
    assert 2 <= again <= 4, "two faults, and what was given back before the GPU was parked"


@pytest.fixture
def busy_gpus(nodes) -> Iterator[None]:
    """Two actors hold both GPUs: what needs one would wait for ever."""
    holder = ray.remote(num_gpus=1, num_cpus=0)(_Holder)
    held = [holder.remote() for _ in range(2)]
    ray.get([one.ready.remote() for one in held])
    assert ray.available_resources().get("GPU", 0.0) == 0.0
    yield
    for one in held:
        ray.kill(one)


class _Holder:
    def ready(self) -> bool:
        return True


def test_photos_are_decoded_and_nodes_are_checked_while_every_gpu_is_busy(
    nodes, busy_gpus, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del busy_gpus
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path), [f"store.root={tmp_path / 'store'}", "train.image_size=[32, 48]"])
    folder = StudyFolder(tmp_path / "study")
    folder.root.mkdir()
    split = make_split(load_dataset(experiment.data.root, processes=1), fraction=0.25, seed=0)
    write_split(split, folder.split)
    config = experiment.bind(experiment.baseline)

    requires = requirements(folder.split, experiment.data.root)
    able, unfit = probe_nodes(
        nodes, study=str(folder.root), photos_at=experiment.photos_at, store=experiment.store, requires=requires
    )
    assert (able, unfit) == (nodes, {})
    with start_check([], here=False) as check:
        assert check(nodes) == {}
    prebuild(nodes, str(folder.root), experiment, config, raise_if_due=lambda: None)
    take_use()
    data = TrainingData(split, open_store(experiment.store), view_seed=0)
    assert data.pixels("train", config.stage_size(0)).shape[1:] == (32, 48, 3)
    data.pixels("validation", config.stage_size(0))
    use = take_use()
    assert (use.built, use.reused) == (0, 2), "the first trial decodes nothing"


def test_without_a_store_nothing_is_decoded_beforehand(nodes, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path), ["store.enabled=false"])
    folder, config = StudyFolder(tmp_path / "study"), experiment.bind(experiment.baseline)
    prebuild(nodes, str(folder.root), experiment, config, raise_if_due=lambda: pytest.fail("it waited"))
    with pytest.raises(KeyboardInterrupt):
        prebuild(nodes, str(folder.root), load(experiment.path, []), config, raise_if_due=_interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt
