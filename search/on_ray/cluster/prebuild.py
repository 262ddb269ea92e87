"""Decodes the first recipe's photos on every node before the first trial: on all cores, and without a GPU.

The first trials would otherwise decode them on their share of the cores, each with a GPU that waits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ray

from carcls.config import TrainConfig
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store, photos_folder, study_on_node
from search.experiment.settings import StoreSettings
from search.on_ray.cluster.nodes import Node, pinned_to, task_result
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.terminal.logs import get_logger

_log = get_logger(__name__)

_POLL_S = 0.5


def prebuild(
    nodes: Sequence[Node],
    study: str,
    experiment: Experiment,
    config: TrainConfig,
    *,
    raise_if_due: Callable[[], None],
    build: Callable[..., None] | None = None,
) -> None:
    """Returns once every node's store has the photos at each size of `config`. A node where that fails is logged, and
    its trials decode them. Without a store there is nothing to do.

    study: path of its folder, or its URL. raise_if_due: called between polls. build: what runs on each node, with the
    signature of `build_pixels`.
    """
    if not experiment.store.enabled:
        return
    _log.info("decoding the photos of the first recipe on %d node(s), before a GPU is needed", len(nodes))
    # No CPUs either: nothing else runs yet, and a node that others use too must not keep the search waiting.
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(build or build_pixels)
    arguments = (study, experiment.photos_at, experiment.store.model_dump(mode="json"))
    pending = {
        pinned_to(remote, node).remote(*arguments, config.model_dump(mode="json"), max(1, int(node.cpus))): node
        for node in nodes
    }
    while pending:
        raise_if_due()
        for answer in ray.wait(list(pending), timeout=_POLL_S)[0]:
            _, problem = task_result(pending[answer], answer, timeout_s=_POLL_S)
            if problem:
                _log.warning("%s; its trials decode the photos", problem)
            del pending[answer]


def build_pixels(study: str, data_root: str, store: dict[str, Any], config: dict[str, Any], processes: int) -> None:
    """Decodes all photos of a study's split at each size of a configuration into this node's store."""
    from carcls.input.training_data import TrainingData  # noqa: PLC0415 - keras, which the driver must not load

    settings = StoreSettings.model_validate(store)
    split = read_study_split(StudyFolder(study_on_node(study, settings)), photos_folder(data_root, settings), "")
    opened = open_store(settings)
    data, recipe = TrainingData(split, opened, view_seed=0, processes=processes), TrainConfig.model_validate(config)
    for size_px in dict.fromkeys(recipe.stage_size(stage) for stage in range(len(recipe.stages))):
        data.pixels("train", size_px)
        data.pixels("validation", size_px)
        if split.holdout is not None:
            data.pixels("holdout", size_px)
