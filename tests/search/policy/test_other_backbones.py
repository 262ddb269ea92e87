"""Which backbones a run with planned hours tries first."""

from pathlib import Path

import numpy as np
import pytest

from search.experiment.experiment import Experiment, load
from search.policy.other_backbones import other_backbones
from search.policy.policy import Proposal, search_policy
from search.policy.records import TrialState
from tests.helpers.search.tiny import EXPERIMENT
from tests.helpers.search.trial_builders import trial

ROOT = Path(__file__).parents[3]


@pytest.fixture
def loaded(tmp_path: Path):
    def experiment(text: str, *changes: str) -> Experiment:
        file = tmp_path / "tiny.yaml"
        file.write_text(text, encoding="utf-8")
        return load(file, changes)

    return experiment


def test_each_other_backbone_has_the_baselines_values() -> None:
    experiment = load(ROOT / "experiments" / "cars10.yaml")
    found = other_backbones(experiment)
    assert [params["train.backbone"] for params in found] == ["mobilenet_75", "mobilenet_v2_35", "mobilenet_25"]
    for params in found:
        assert {**params, "train.backbone": experiment.baseline["train.backbone"]} == dict(experiment.baseline)


def test_widths_are_backbones_and_other_choices_are_not(loaded) -> None:
    experiment = loaded(
        EXPERIMENT.replace("alpha: 0.25", "alpha: {choice: [0.25, 0.5]}").replace(
            "batch_size: 8", "batch_size: {choice: [8, 4]}"
        )
    )
    (found,) = other_backbones(experiment)
    assert (found["train.alpha"], found["train.batch_size"]) == (0.5, 8)
    assert other_backbones(loaded(EXPERIMENT)) == ()


def test_no_more_than_three_are_tried(loaded) -> None:
    names = ["MobileNetV2", "VGG16", "ResNet50", "DenseNet121"]
    text = EXPERIMENT.replace("backbone: MobileNet\n", f"backbone: {{choice: [MobileNet, {', '.join(names)}]}}\n")
    found = other_backbones(loaded(text.replace("alpha: 0.25", "alpha: 1.0")))
    assert [params["train.backbone"] for params in found] == names[:3]


def test_they_are_proposed_after_the_baseline_and_before_the_sampler(loaded) -> None:
    experiment = loaded(EXPERIMENT.replace("alpha: 0.25", "alpha: {choice: [0.25, 0.5, 0.75]}"))
    others = other_backbones(experiment)
    policy, without = search_policy(experiment, others=others), search_policy(experiment)
    points = (experiment.baseline, *others, experiment.space.sample(np.random.default_rng(0)))
    first, second, third, drawn = (trial(place, TrialState.COMPLETE, params=one) for place, one in enumerate(points))
    assert policy.propose(()).is_baseline
    assert policy.propose((first,)) == Proposal(dict(others[0]))
    assert policy.propose((first, second)) == Proposal(dict(others[1]))
    for before in ((first, second, third), (first, second, third, drawn)):
        assert policy.propose(before) == without.propose(before), "by the sampler, which counts all of them"


def test_a_search_that_went_on_without_them_tries_each_once(loaded) -> None:
    """Its hours were not planned at first, or the user added one of them."""
    experiment = loaded(EXPERIMENT.replace("alpha: 0.25", "alpha: {choice: [0.25, 0.5, 0.75]}"))
    others = other_backbones(experiment)
    policy = search_policy(experiment, others=others)
    drawn = experiment.space.sample(np.random.default_rng(0))
    points = (experiment.baseline, drawn, drawn, drawn, others[0])
    assert policy.propose([trial(place, TrialState.COMPLETE, params=one) for place, one in enumerate(points)]) == (
        Proposal(dict(others[1]))
    )
