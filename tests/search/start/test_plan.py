"""What `init` decides for photos and a machine, and the file that it writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.inspection.weights_at_hand import WeightsAtHand
from search.bench.reference import RATES, Machine, forward_images_per_s, train_images_per_s
from search.errors import StartError
from search.experiment.experiment import load
from search.start.experiment_text import experiment_text
from search.start.plan import make_plan, preset_for
from search.start.survey import Findings

FOUND = Findings(
    root=Path("photos: of 'cars'"),
    nested=False,
    layout="a folder per class",
    photos=2000,
    classes=10,
    smallest_class=150,
    largest_class=250,
    to_predict=300,
    side_px=480,
    cpus=2,
    gpus=0,
    weights=(),
    can_download=True,
)
SMALL = WeightsAtHand("MobileNetV2", 0.35, Path("/w/small.h5"))
LARGE = WeightsAtHand("Xception", 1.0, Path("/w/large.h5"))
INCEPTION = WeightsAtHand("InceptionV3", 1.0, Path("/w/inception.h5"))
UNKNOWN = WeightsAtHand("VGG19", 1.0, Path("/w/vgg.h5"))


@pytest.mark.parametrize("preset", ["quick", "medium", "best"])
@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize("weights", [(), (SMALL,), (LARGE, SMALL)])
def test_every_file_loads_and_names_its_study(tmp_path, preset, gpus, weights):
    found = replace(FOUND, gpus=gpus, weights=weights, nested=gpus > 0, largest_class=1000)
    plan = make_plan(found, preset)
    file = tmp_path / "cars.yaml"
    file.write_text(experiment_text(found, plan, name="cars", file=Path("cars.yaml")), encoding="utf-8")
    experiment = load(file)
    assert experiment.name == "cars"
    assert experiment.data.root == Path.cwd() / FOUND.root
    assert experiment.data.nested is found.nested
    assert experiment.search.trials == plan.trials
    assert experiment.search.budget.hours == plan.search_hours
    first = experiment.bind(experiment.baseline)
    assert (first.backbone, first.weights) == (plan.backbones[0].backbone, plan.backbones[0].weights)
    assert (first.image_size, first.batch_size, first.class_balance) == (plan.image_size_px, 32, "weights")
    final = experiment.retrain_config(first)
    assert (final.image_size, final.stages[-1].epochs) == (plan.final_size_px, plan.final_epochs)
    assert experiment.folds == plan.folds
    assert max(map(len, file.read_text(encoding="utf-8").splitlines())) <= 120


@pytest.mark.parametrize(
    ("hours", "preset"), [(None, "quick"), (0.1, "quick"), (1.9, "quick"), (2, "medium"), (8, "medium"), (12, "best")]
)
def test_a_run_has_the_longest_preset_whose_search_takes_half_of_its_hours(hours, preset):
    assert preset_for(hours) == preset


@pytest.mark.parametrize(("hours", "gpus"), [(0.01, 0), (8.0, 0), (100.0, 8)])
def test_a_runs_hours_alone_end_its_search(tmp_path, hours, gpus):
    found = replace(FOUND, gpus=gpus)
    plan = make_plan(found, preset_for(hours), run_hours=hours)
    file = tmp_path / "cars.yaml"
    file.write_text(experiment_text(found, plan, name="cars", file=Path("cars.yaml")), encoding="utf-8")
    assert max(map(len, file.read_text(encoding="utf-8").splitlines())) <= 120
    assert file.read_text(encoding="utf-8").startswith(f"# carsearch run cars.yaml --hours {hours:g} --or-resume\n")
    header = file.read_text(encoding="utf-8").split("\ndata:")[0]
    assert "Without --hours, only the number of trials ends the search" in header
    assert "'carsearch check' checks it" in header, "an estimate for this file would be that of all trials"
    settings = load(file).search
    assert settings.budget.hours is None
    assert settings.trials <= 1000, "the same file may be run without hours"
    assert settings.trials == plan.trials >= max(64, make_plan(found, plan.preset).trials)
    assert plan.total_s == (3600 * hours, 3600 * hours)


def test_the_weights_at_hand_come_before_a_download():
    assert [one.backbone for one in make_plan(replace(FOUND, weights=(LARGE, SMALL)), "quick").backbones] == [
        "MobileNetV2"
    ]
    on_gpu = make_plan(replace(FOUND, weights=(LARGE, SMALL), gpus=1), "quick")
    assert on_gpu.backbones[0].weights == "/w/large.h5"
    assert {one.weights for one in make_plan(FOUND, "best").backbones} == {"imagenet"}


def test_without_any_weights_the_small_ones_are_used_and_the_file_says_so():
    offline = replace(FOUND, can_download=False)
    plan = make_plan(offline, "medium")
    assert [(one.weights, one.alpha) for one in plan.backbones] == [("sample", 0.35)]
    assert (plan.image_size_px, plan.final_size_px) == (96, 96)
    assert "# Note: no ImageNet weights" in experiment_text(offline, plan, name="cars", file=Path("cars.yaml"))


def test_weights_without_a_recipe_are_refused_by_name():
    with pytest.raises(StartError, match=r"VGG19.*init --list"):
        make_plan(replace(FOUND, weights=(UNKNOWN,)), "quick")


def test_a_longer_preset_takes_longer_and_more_photos_do_too():
    hours = [make_plan(FOUND, preset).total_s[1] for preset in ("quick", "medium", "best")]
    assert hours == sorted(hours)
    assert make_plan(replace(FOUND, photos=20_000), "medium").final_s > 5 * make_plan(FOUND, "medium").final_s
    assert make_plan(FOUND, "quick").total_s[1] < 1800, "quick means minutes for two thousand photos on two cores"


def test_images_are_no_larger_than_the_photos():
    plan = make_plan(replace(FOUND, side_px=100), "best")
    assert (plan.image_size_px, plan.final_size_px) == (96, 96)


@pytest.mark.parametrize("preset", ["quick", "medium", "best"])
@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("weights", [(), (SMALL,), (LARGE,), (INCEPTION, SMALL)])
@pytest.mark.parametrize("side_px", [20, 32, 63, 64, 95, 96, 127, 128, 160])
def test_the_file_for_small_photos_loads_and_trains_no_larger_than_they_are(tmp_path, preset, gpus, weights, side_px):
    found = replace(FOUND, gpus=gpus, weights=weights, side_px=side_px)
    plan = make_plan(found, preset)
    file = tmp_path / "cars.yaml"
    file.write_text(experiment_text(found, plan, name="cars", file=Path("cars.yaml")), encoding="utf-8")
    experiment = load(file)
    first = experiment.bind(experiment.baseline)
    assert first.image_size == plan.image_size_px <= plan.final_size_px == experiment.retrain_config(first).image_size
    assert plan.smaller_size_px is None or 64 <= plan.smaller_size_px < plan.image_size_px
    demanding = {"Xception", "InceptionV3"} & {one.backbone for one in plan.backbones}
    needed = 96 if demanding else 32  # they take no less than 71 and 75
    assert plan.final_size_px <= max(side_px, needed)


def test_a_second_size_is_searched_unless_a_backbone_or_the_photos_are_too_small():
    def sizes(side_px, *weights):
        plan = make_plan(replace(FOUND, weights=weights, side_px=side_px), "medium")
        return plan.image_size_px, plan.smaller_size_px

    assert sizes(480) == (160, 96)
    assert sizes(130) == (128, 96)
    assert sizes(100, SMALL) == (96, 64)
    assert sizes(100, LARGE) == (96, None)
    assert sizes(70, SMALL) == (64, None)


def test_few_photos_have_small_batches():
    assert make_plan(replace(FOUND, photos=150), "quick").batch_size == 8


def test_few_photos_have_the_measured_recipe(tmp_path):
    """The baseline of experiments/cars10.yaml, but for sizes, lengths and smoothing's domain."""
    few = replace(FOUND, photos=800, weights=(SMALL,))
    plan = make_plan(few, "best")
    file = tmp_path / "cars.yaml"
    file.write_text(experiment_text(few, plan, name="cars", file=Path("cars.yaml")), encoding="utf-8")
    experiment, shipped = load(file), load(Path(__file__).parents[3] / "experiments" / "cars10.yaml")
    first, wanted = experiment.bind(experiment.baseline), shipped.bind(shipped.baseline)
    for part in ("optimizer", "layer_decay", "head", "augment", "batch_size", "label_smoothing"):
        assert getattr(first, part) == getattr(wanted, part), part
    rates = [(stage.name, stage.learning_rate) for stage in first.stages]
    assert rates == [(stage.name, stage.learning_rate) for stage in wanted.stages if stage.name != "most"]
    assert first.stages[0].epochs == wanted.stages[0].epochs == 20
    assert experiment.space.domains["train.layer_decay"] == shipped.space.domains["train.layer_decay"]
    assert experiment.retrain_config(first).augment == first.augment, "features are kept in the final training too"
    drawn = experiment.bind(experiment.space.sample(np.random.default_rng(0)))
    assert drawn.layer_decay != first.layer_decay
    pinned, wanted_final = experiment.retrain_config(drawn), experiment.retrain_config(first)
    kept = {"backbone": drawn.backbone, "alpha": drawn.alpha, "weights": drawn.weights}
    assert pinned == wanted_final.model_copy(update=kept), "the final training has the baseline's values"


def test_many_photos_or_the_sample_weights_keep_the_short_head():
    assert make_plan(FOUND, "medium").epochs[0] == 4
    assert make_plan(replace(FOUND, photos=800, can_download=False), "medium").epochs[0] == 4
    assert make_plan(replace(FOUND, photos=800), "medium").epochs[0] == 20


def test_a_long_head_stage_costs_as_much_as_its_views():
    """Few photos train a head of 20 epochs; at most four of them compute features."""
    few, many = (make_plan(replace(FOUND, photos=photos), "medium") for photos in (1499, 1500))
    assert few.final_s < 1.1 * many.final_s


def test_rates_follow_size_cores_and_what_is_frozen():
    two, eight = Machine(2, gpu=False), Machine(8, gpu=False)
    whole = train_images_per_s("Xception", 1.0, px=224, unfreeze=1.0, machine=two)
    assert whole == pytest.approx(RATES[("Xception", 1.0)].train)
    assert train_images_per_s("Xception", 1.0, px=112, unfreeze=1.0, machine=two) == pytest.approx(4 * whole)
    assert train_images_per_s("Xception", 1.0, px=224, unfreeze=0.0, machine=two) == pytest.approx(
        forward_images_per_s("Xception", 1.0, px=224, machine=two)
    )
    assert train_images_per_s("Xception", 1.0, px=224, unfreeze=1.0, machine=eight) == pytest.approx(whole * 4**0.75)
