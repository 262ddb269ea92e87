import pickle
from functools import cache
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.errors import ExperimentError
from search.experiment.experiment import load
from search.experiment.search_settings import SearchSettings

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "experiments").glob("*.yaml"))
SEEDS = st.integers(0, 2**32 - 1)

loaded = cache(load)  # one load for all examples of a property

TEXT = """\
name: small
data: {root: photos}
train:
  backbone:
    choice:
      tiny: {backbone: MobileNet, alpha: 0.25, weights: w/tiny.h5}
      big: {backbone: MobileNetV2, weights: imagenet, label_smoothing: {uniform: [0.0, 0.2]}}
  image_size: {choice: [64, 96]}
  batch_size: 8
  stages:
    - {name: head, unfreeze: 0.0, epochs: 2, learning_rate: {loguniform: [1e-4, 1e-2]}}
    - {name: full, unfreeze: 1.0, epochs: {int: [1, 5]}, learning_rate: 1e-4}
search:
  trials: 4
  baseline: {backbone: {big: {label_smoothing: 0.1}}, stages: {head: {learning_rate: 0.002}}}
retrain:
  image_size: 128
  stages: {full: {epochs: 9, schedule: {warmup_epochs: 1}}}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("small.yaml")
    path.write_text(TEXT)
    return path


def test_the_baseline_takes_what_is_written_and_defaults_for_the_rest(file):
    experiment = load(file)
    assert experiment.baseline == {
        "train.backbone": "big",
        "train.backbone.big.label_smoothing": 0.1,
        "train.image_size": 64,
        "train.stages.head.learning_rate": 0.002,
        "train.stages.full.epochs": 3,
    }


def test_bind_fills_the_domains_and_merges_the_option(file):
    config = load(file).bind(
        {
            "train.backbone": "tiny",
            "train.image_size": 96,
            "train.stages.head.learning_rate": 0.001,
            "train.stages.full.epochs": 5,
        }
    )
    assert isinstance(config, TrainConfig)
    assert (config.backbone, config.alpha, config.image_size, config.batch_size) == ("MobileNet", 0.25, 96, 8)
    assert config.weights == str(Path.cwd() / "w" / "tiny.h5")
    assert [(s.name, s.epochs, s.learning_rate) for s in config.stages] == [("head", 2, 0.001), ("full", 5, 1e-4)]


@pytest.mark.parametrize(
    ("change", "where", "key", "words"),
    [
        ({"train.image_size": 80}, "small.yaml:8", "train.image_size", "80 is outside choice [64, 96]"),
        ({"train.image_size": None}, "small.yaml:8", "train.image_size", "has no value"),
        ({"train.image_siz": 64}, "small.yaml", "train.image_siz", "is no parameter"),
        ({"train.backbone": "tiny"}, "small.yaml:7", "train.backbone.big.label_smoothing", "with another option"),
    ],
)
def test_bind_names_the_parameter_that_is_wrong(file, change, where, key, words):
    experiment = load(file)
    params = {name: value for name, value in {**experiment.baseline, **change}.items() if value is not None}
    with pytest.raises(ExperimentError) as caught:
        experiment.bind(params)
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (where, key)
    assert words in problem.message


def test_retraining_lays_its_changes_over_the_winner(file):
    experiment = load(file)
    config = experiment.bind(experiment.baseline)
    changed = experiment.retrain_config(config)
    assert changed.image_size == 128
    assert changed.stages[0] == config.stages[0]
    assert changed.stages[1].epochs == 9
    assert changed.stages[1].schedule.warmup_epochs == 1.0
    assert changed.stages[1].schedule.kind == config.stages[1].schedule.kind
    assert changed.model_copy(update={"image_size": 64, "stages": config.stages}) == config


def test_retraining_may_bring_a_whole_new_list_of_stages(file):
    whole = "retrain.stages=[{name: all, unfreeze: 1.0, epochs: 7, learning_rate: 1e-4}]"
    experiment = load(file, [whole])
    changed = experiment.retrain_config(experiment.bind(experiment.baseline))
    assert [(stage.name, stage.epochs) for stage in changed.stages] == [("all", 7)]


def test_retraining_changes_layers_of_the_head_by_number(file):
    layers = "train.head={layers: [{kind: dense, width: 8}, {kind: relu}, {kind: dropout, rate: 0.25}]}"
    experiment = load(file, [layers, "retrain.head.layers={0: {width: 16}, 2: {rate: 0.5}}"])
    config = experiment.bind(experiment.baseline)
    changed = experiment.retrain_config(config)
    assert [(layer.kind, layer.width, layer.rate) for layer in changed.head.layers] == [
        ("dense", 16, None),
        ("relu", None, None),
        ("dropout", None, 0.5),
    ]
    shorter = config.model_copy(update={"head": config.head.model_copy(update={"layers": config.head.layers[:1]})})
    assert [layer.width for layer in experiment.retrain_config(shorter).head.layers] == [16]


def test_retraining_passes_over_stages_that_the_winner_does_not_have(file):
    experiment = load(file)
    config = experiment.bind(experiment.baseline)
    head_only = config.model_copy(update={"stages": config.stages[:1]})
    assert experiment.retrain_config(head_only).stages == config.stages[:1]


def test_paths_become_absolute_and_results_have_a_default(file):
    experiment = load(file)
    assert experiment.data.root == Path.cwd() / "photos"
    assert experiment.results == Path.cwd() / "results"
    assert experiment.store.root is None
    assert load(file, ["store.root=fast"]).store.root == Path.cwd() / "fast"
    assert load(file, ["data.root=~/cars"]).data.root == Path.home() / "cars"


def test_the_frozen_copy_loads_to_an_equal_experiment_from_any_folder(file, tmp_path, monkeypatch):
    experiment = load(file, ["search.trials=9", "train.stages.head.learning_rate=1e-3"])
    frozen = tmp_path / "frozen.yaml"
    frozen.write_text(experiment.resolved_yaml())
    monkeypatch.chdir("/")
    again = load(frozen)
    assert again == experiment
    assert again.search.trials == 9
    assert again.resolved_yaml() == experiment.resolved_yaml()
    assert again != load(frozen, ["search.trials=8"])


def test_files_that_are_not_there_are_named_but_not_needed_for_loading(file):
    experiment = load(file)
    here = Path.cwd()
    assert [str(problem) for problem in experiment.missing_files()] == [
        f"small.yaml: data.root: no such folder: {here / 'photos'}",
        f"small.yaml: train.backbone.tiny.weights: no such file: {here / 'w' / 'tiny.h5'}",
    ]
    (here / "photos").mkdir()
    (here / "w").mkdir()
    (here / "w" / "tiny.h5").touch()
    assert experiment.missing_files() == ()


def test_a_file_without_domains_is_fixed_and_needs_no_search(file):
    file.write_text(
        "name: one\ndata: {root: photos}\ntrain:\n  backbone: Xception\n  image_size: 96\n  batch_size: 8\n"
        "  stages: [{name: head, unfreeze: 0.0, epochs: 1, learning_rate: 1e-3}]\n"
    )
    experiment = load(file)
    assert experiment.is_fixed
    assert experiment.baseline == {}
    assert experiment.search == SearchSettings()
    assert experiment.bind({}).backbone == "Xception"
    assert experiment.summary_lines()[-1].startswith("one fixed recipe")


def test_an_experiment_survives_pickling(file):
    experiment = load(file)
    assert pickle.loads(pickle.dumps(experiment)) == experiment  # noqa: S301 - our own bytes


def test_overrides_reach_stages_by_name_and_position_and_options_by_name(file):
    experiment = load(
        file,
        [
            "train.stages.head.learning_rate=1e-3",
            "train.stages.1.epochs=4",
            "train.backbone.tiny.alpha=0.5",
            "train.head.dropout=0.4",
            "train.image_size={choice: [96]}",
        ],
    )
    assert tuple(experiment.baseline) == ("train.backbone", "train.backbone.big.label_smoothing", "train.image_size")
    config = experiment.bind({"train.backbone": "tiny", "train.image_size": 96})
    assert (config.alpha, config.head.dropout, config.stages[0].learning_rate) == (0.5, 0.4, 1e-3)
    assert config.stages[1].epochs == 4


def test_what_an_override_fixes_leaves_the_baseline(file):
    experiment = load(file, ["train.backbone=MobileNet", "train.stages.head.learning_rate=0.003"])
    assert tuple(experiment.baseline) == ("train.image_size", "train.stages.full.epochs")
    assert experiment.bind(experiment.baseline).backbone == "MobileNet"


def test_the_summary_says_what_a_search_would_do(file):
    lines = load(file).summary_lines()
    assert "stages: head 2 + full 3 = 5 epochs" in lines
    assert "search: 4 trials by tpe; after each stage the best 1/3 continue" in lines
    adaptive = load(file, ["search.scheduler={kind: adaptive, first_rung: 2}"]).summary_lines()
    believed = "at rungs that rank like the last one"
    assert f"search: 4 trials by tpe; from stage 2 on the best 1/3 continue, {believed}" in adaptive
    assert "train.stages.head.learning_rate: loguniform [0.0001, 0.01], first 0.002" in lines


def test_the_summary_says_what_is_held_back(file):
    [photos, *_] = load(file).summary_lines()
    assert photos.endswith(", 15% held back for validation")
    held_out = load(file, ["data.holdout={fraction: 0.17}"])
    assert held_out.summary_lines()[0] == f"{photos}, 17% as holdout"
    [own, *_] = load(file, ["data.split_column=part"]).summary_lines()
    assert ", split by column 'part', or 15% held back for validation" in own
    assert (held_out.data.holdout_fraction, load(file).data.holdout_fraction) == (0.17, 0.0)
    assert held_out != load(file)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
class TestShippedExperiments:
    def test_opens_with_its_command_running_time_and_expected_score(self, path):
        opening = path.read_text(encoding="utf-8").split("\n\n")[0]
        assert opening.startswith("# carsearch ")
        assert "# Running time: " in opening
        assert "# Expected score: " in opening

    def test_is_named_like_its_file_and_gives_a_baseline_to_every_domain_it_needs(self, path):
        experiment = load(path)
        assert experiment.name == path.stem
        assert tuple(experiment.baseline) == experiment.space.active(experiment.baseline)
        assert experiment.retrain_config(experiment.bind(experiment.baseline)).total_epochs >= 8

    @given(seed=SEEDS)
    @settings(max_examples=40, deadline=None)
    def test_every_sample_can_be_trained_and_retrained(self, path, seed):
        experiment = loaded(path)
        params = experiment.space.sample(np.random.default_rng(seed))
        config = experiment.bind(params)
        assert isinstance(experiment.retrain_config(config), TrainConfig)

    @given(seed=SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_what_optuna_suggests_can_be_trained(self, path, seed):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        experiment = loaded(path)
        params = experiment.space.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask())
        assert tuple(params) == experiment.space.active(params)
        experiment.bind(params)

    def test_its_frozen_copy_is_equal(self, path, tmp_path):
        experiment = load(path)
        (tmp_path / "frozen.yaml").write_text(experiment.resolved_yaml(), encoding="utf-8")
        assert load(tmp_path / "frozen.yaml") == experiment


def test_the_shipped_experiments_are_these():
    assert [path.stem for path in SHIPPED] == [
        "cars", "cars10", "contest_best", "curves10", "demo", "inception_search", "inception_stages", "lab_full",
        "lab_heads", "lab_recipes", "lab_short", "rectangles", "xception_stages",
    ]  # fmt: skip
