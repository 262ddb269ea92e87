"""Estimated seconds of configurations and searches."""

import pytest

from carcls.config import AugmentConfig, StageConfig, TrainConfig
from search.bench.estimate import SPREAD, Photos, TrialCost, estimate_final, estimate_search, trial_cost
from search.bench.rates import Rates
from search.bench.reference import Machine
from search.experiment.search_settings import FinalistSettings, SchedulerConfig
from search.policy.step_times import Wishes, final_rounds
from tests.search.bench.helpers import bench, feeding, training

CONFIG = TrainConfig(
    backbone="MobileNetV2",
    image_size=224,
    batch_size=32,
    augment=AugmentConfig(policy="medium"),
    stages=(
        StageConfig(name="head", unfreeze=0.0, epochs=2, learning_rate=1e-3),
        StageConfig(name="full", unfreeze=1.0, epochs=3, learning_rate=1e-4),
    ),
)
PHOTOS = Photos(train=1000, validation=200, holdout=100)
RATES = Rates(Machine(2, gpu=False), bench=bench(training(100.0), feeding(1000.0)))
"""10 ms to train a photo, 2.5 ms to predict it, 1 ms to prepare it, 5 ms to decode it, 5 s to compile."""


def test_a_frozen_stage_computes_features_once_for_all_trials() -> None:
    found = trial_cost(CONFIG, PHOTOS, RATES)
    assert found is not None
    assert found.stages_s[0] == pytest.approx(3 + 5 + 2 * 0.25)
    assert found.stages_s[1] == pytest.approx(3 + 5 + 3 * (0.25 + 1000 * 0.011 + 300 * 0.0025))
    views = [seconds for name, seconds in found.shared_s.items() if name.startswith("view")]
    assert views == pytest.approx([1000 * 0.0035] * 2), "each epoch shows another view"
    assert found.shared_s["pixels 224"] == pytest.approx(1300 * 0.005)
    assert sum(found.shared_s.values()) == pytest.approx(7 + 6.5 + 300 * 0.0025)


def test_photos_without_augmentation_have_one_view() -> None:
    plain = CONFIG.model_copy(update={"augment": AugmentConfig(policy="none")})
    found = trial_cost(plain, PHOTOS, RATES)
    assert found is not None
    assert [seconds for name, seconds in found.shared_s.items() if name.startswith("view")] == pytest.approx([2.5])
    assert found.stages_s[1] == pytest.approx(3 + 5 + 3 * (0.25 + 10 + 0.75))


def test_mixed_photos_are_computed_in_every_epoch_and_by_every_trial() -> None:
    def features(seed: int, **augment: object) -> dict[str, float]:
        head = CONFIG.stages[0].model_copy(update={"epochs": 5})
        changes = {"seed": seed, "augment": AugmentConfig(**augment), "stages": (head, CONFIG.stages[1])}
        found = trial_cost(CONFIG.model_copy(update=changes), PHOTOS, RATES)
        assert found is not None
        return {name: seconds for name, seconds in found.shared_s.items() if "view" in name}

    assert len(features(0, policy="light", views=2)) == 2
    assert len(features(0, policy="light", views=2, mixup=0.2)) == 5
    plain = features(0, policy="none", cutmix=0.2)
    assert list(plain.values()) == pytest.approx([1000 * 0.0025] * 5)
    assert not plain.keys() & features(1, policy="none", cutmix=0.2).keys(), "trials share none of them"


def test_cores_prepare_photos_while_a_gpu_trains() -> None:
    known = bench(training(2000.0), feeding(1000.0), gpus=1)
    found = trial_cost(CONFIG, PHOTOS, Rates(Machine(2, gpu=True), bench=known))
    assert found is not None
    assert found.stages_s[1] == pytest.approx(3 + 5 + 3 * (0.25 + 1000 / 1000 + 300 / 8000)), "the photos limit it"


def test_a_backbone_of_which_nothing_is_known_has_no_cost() -> None:
    assert trial_cost(CONFIG.model_copy(update={"backbone": "VGG16"}), PHOTOS, RATES) is None


def _search(kind: str, **more: object) -> tuple[float, float]:
    trials = [TrialCost((10.0, 20.0, 40.0), {"pixels": 30.0}), TrialCost((10.0, 20.0, 40.0), {"pixels": 30.0})]
    settings = {"count": 9, "at_once": 1, "hours": None, "finalists": FinalistSettings(), **more}
    return estimate_search(trials, scheduler=SchedulerConfig(kind=kind), **settings)  # type: ignore[arg-type]


def test_trials_that_stop_cost_less() -> None:
    assert _search("none") == (pytest.approx(660 / SPREAD + 25), pytest.approx(660 * SPREAD + 25))
    pruned = 30 + 9 * 10 + 3 * 20 + 1 * 40
    assert _search("asha") == (pytest.approx(pruned / SPREAD + 25), pytest.approx(pruned * SPREAD + 25))
    assert _search("adaptive") == (_search("asha")[0], _search("none")[1]), "it may compare everywhere or nowhere"


def test_several_trials_at_once_take_at_least_one_trial() -> None:
    assert _search("none", at_once=3)[1] == pytest.approx(220 * SPREAD + 25)
    assert _search("none", at_once=100)[1] == pytest.approx(100 * SPREAD + 25)


def test_finals_repeat_whole_trainings_and_hours_limit_the_search() -> None:
    assert _search("none", finalists=FinalistSettings(count=2, seeds=3))[1] == pytest.approx(
        (660 + 9 * 70) * SPREAD + 25
    )
    assert _search("none", hours=0.1) == (pytest.approx(360 + 25), pytest.approx(360 + 25))


def test_folds_train_in_rounds() -> None:
    one = TrialCost((10.0, 20.0), {"pixels": 30.0})
    assert estimate_final(one, rounds=final_rounds(5, Wishes(is_refitted=True), at_once=2)) == (
        pytest.approx(4 * 60 / SPREAD + 25),
        pytest.approx(4 * 60 * SPREAD + 25),
    )
