"""Experiment files that are made from a study: its final training under other names and with other values."""

from pathlib import Path
from typing import Any

from carcls.frames import frame_of, named_size
from search.experiment.experiment import Experiment
from search.experiment.file.yaml_source import dump, read_source
from search.final.retrain import final_config
from search.policy.records import TrialRecord, TrialState
from search.progress.summary import winner
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.study import Study

SOUP, BRANCH, FOUND = "soup.keras", "branch.keras", "soup.json"
"""What `benchmarks.accuracy.soup` writes into the folder of a study from `branches`."""

FORMER = (
    "retrain={folds: 4, image_size: 224, batch_size: 32, label_smoothing: 0.1,"
    " optimizer: {kind: adam, weight_decay: 0}, layer_decay: 1.0, head: {batch_norm: true},"
    " augment: {policy: light, views: 0}, stages: {head: {epochs: 4, learning_rate: 0.002},"
    " half: {epochs: 3, learning_rate: 0.0002}, most: {epochs: 1, learning_rate: 0.0002},"
    " full: {epochs: 18, learning_rate: 0.0002, schedule: {kind: cosine, warmup_epochs: 2}}}}"
)
"""The shipped final training until 2026-11-29, with which the arms are compared.

The rates are those of the baseline then. A search since then draws rates for layer-wise ones.
"""

SMALL_DATA = (
    "train.batch_size=16",
    "train.label_smoothing=0.1",
    "train.optimizer={kind: adamw, weight_decay: 0.05}",
    "train.layer_decay=0.8",
    "train.head={batch_norm: false, units: 0, dropout: 0.2, l2: 0.00001}",
    "train.augment={policy: light, views: 4}",
    "train.stages=[{name: head, unfreeze: 0.0, epochs: 20, learning_rate: 0.004}, {name: full, unfreeze: 1.0,"
    " epochs: 20, learning_rate: 0.0005, schedule: {kind: cosine, warmup_epochs: 2}}]",
)
"""What changes a final training into that of experiments/lab_recipes.yaml, two epochs shorter."""

SMALL_STAGED = (
    *SMALL_DATA[:-1],
    "train.stages=[{name: head, unfreeze: 0.0, epochs: 20, learning_rate: 0.004}, {name: half, unfreeze: 0.5,"
    " epochs: 3, learning_rate: 0.0005, schedule: {kind: cosine, warmup_epochs: 1}}, {name: most, unfreeze: 0.75,"
    " epochs: 1, learning_rate: 0.0005, schedule: {kind: cosine, warmup_epochs: 0.5}}, {name: full, unfreeze: 1.0,"
    " epochs: 16, learning_rate: 0.0005, schedule: {kind: cosine, warmup_epochs: 2}}]",
)
"""The same, but the backbone unfreezes in three stages, with as many epochs in all: shipped until 2026-11-30."""


def recipe(study: StudyFolder, name: str, train: dict[str, Any] | None = None) -> Path:
    """The study's final training as a file without domains and under another name. train: in place of its own `train`.

    The final training must have begun.
    """
    tree = dict(read_source(study.recipe).tree)
    tree["name"] = name
    if train is not None:
        tree["train"] = train
    return _written(study, tree)


def branches(study: StudyFolder, name: str, *, count: int) -> Path:
    """A file whose trials are the study's final configuration with other rates of the last stage.

    Until then they are the same training, seed included, so that they share the head and may be souped.
    """
    tree = dict(read_source(study.recipe).tree)
    stages = [dict(stage) for stage in tree["train"]["stages"]]
    rate = stages[-1]["learning_rate"]
    stages[-1]["learning_rate"] = {"loguniform": [rate / 2, rate * 2]}
    tree |= {
        "name": name,
        "train": {**tree["train"], "stages": stages},
        "retrain": {},
        "search": {
            **tree["search"],
            "trials": count,
            "sampler": "sobol",
            "scheduler": {"kind": "none"},
            "resources": {"cpus_per_trial": 1},
            # Otherwise their heads would differ by rounding.
            "deterministic": True,
            "baseline": {"stages": {stages[-1]["name"]: {"learning_rate": rate}}},
        },
    }
    return _written(study, tree)


def other_configurations(study: StudyFolder, count: int) -> list[tuple[int, dict[str, Any]]]:
    """The best whole trials beside the winner, with their final configurations, of other backbones first.

    Fewer than `count` if the search left fewer.
    """
    records = Study.open(study.root, read_only=True).records()
    first = winner(records)
    whole = [one for one in records if one.state is TrialState.COMPLETE and one.best_rank and one.repeats is None]
    whole.sort(key=lambda one: (one.best_rank, -one.number), reverse=True)
    experiment = open_experiment(study)
    backbones, chosen = {_backbone(experiment, first)}, []
    for is_new in (True, False):
        for one in whole:
            own = _backbone(experiment, one)
            if len(chosen) < count and one not in (first, *chosen) and (own not in backbones) == is_new:
                chosen.append(one)
                backbones.add(own)
    return [(one.number, final_config(study, experiment, one.number).model_dump(mode="json")) for one in chosen]


def _backbone(experiment: Experiment, record: TrialRecord) -> tuple[str, float]:
    config = experiment.bind(record.params)
    return config.backbone, config.alpha


def rectangle(side: int) -> tuple[int, int]:
    """(height, width) of 3 to 4 with about as many pixels as a square: 192 x 256 for 224 px. Multiples of 16."""
    return max(32, round(side * 0.75**0.5 / 16) * 16), max(32, round(side / 0.75**0.5 / 16) * 16)


def recipe_side(study: StudyFolder) -> int:
    """Side of the final training's photos in px."""
    size = named_size(dict(read_source(study.recipe).tree)["train"]["image_size"], "stretch")
    return frame_of(size).height


def _written(study: StudyFolder, tree: dict[str, Any]) -> Path:
    path = study.root.parent.parent / "recipes" / f"{tree['name']}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(dump(tree), encoding="utf-8")
    return path
