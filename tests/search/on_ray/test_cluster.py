"""A search on a running cluster of two nodes on one machine, each with its own core."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from search.cli.whole_run import _finals_at_once
from search.experiment.experiment import load
from search.policy.records import TrialState
from search.study.final_scores import read_scores
from search.study.folder import StudyFolder
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import read_records
from tests.helpers.search.tiny import write_tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    try:
        for _ in range(2):
            started.add_node(num_cpus=1)
        started.wait_for_nodes()
        yield started
    finally:
        started.shutdown()


def test_a_search_joins_by_address_and_leaves_the_cluster_running(cluster: Cluster, tmp_path: Path) -> None:
    write_tiny(tmp_path)
    place = ("--set", "search.max_concurrent=2", "--set", "search.resources.cpus_per_trial=1")
    done = run_cli("run", "tiny.yaml", "--address", cluster.address, *place, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = StudyFolder(tmp_path / "results" / "tiny")
    records = read_records(folder)
    assert len(records) == 4
    assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert not list(folder.root.glob(".probe-*")), "the probe's files are gone"
    assert len([node for node in cluster.list_all_nodes() if node.all_processes]) == 2

    folds = ("--set", "retrain.folds=2")
    final = run_cli("retrain", str(folder.root), "--address", cluster.address, *folds, cwd=tmp_path)
    assert final.returncode == 0, final.stdout + final.stderr
    trained = read_records(folder.retrain_study)
    assert [record.state for record in trained] == [TrialState.COMPLETE] * 2
    assert read_scores(folder).folds == 2
    assert folder.model.is_file()
    workers = {path.parent.parent.name for path in folder.retrain_study.trials.glob("*/attempt-0/output.log")}
    assert workers == {"0000", "0001"}, "each fold by a worker of the cluster"
    experiment = load(tmp_path / "tiny.yaml", ["search.resources.cpus_per_trial=1", "search.max_concurrent=2"])
    assert _finals_at_once(experiment, cluster.address) == 2, "whatever this machine has"


def test_weights_that_a_node_cannot_use_stop_the_search_by_its_name(cluster: Cluster, tmp_path: Path) -> None:
    write_tiny(tmp_path)
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"not a weights file")
    done = run_cli("run", "tiny.yaml", "--address", cluster.address, "--set", f"train.weights={wrong}", cwd=tmp_path)
    assert done.returncode == 2
    assert "the backbones' weights cannot be used" in done.stderr
    assert done.stderr.count(str(wrong)) == 2, "once for each node"
    assert read_records(StudyFolder(tmp_path / "results" / "tiny")) == ()
