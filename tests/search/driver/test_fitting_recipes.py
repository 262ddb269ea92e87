"""The portfolio of a new study is judged by what one of its trials gets of this machine."""

import logging
from importlib.machinery import ModuleSpec
from pathlib import Path
from tempfile import mkdtemp

import pytest

from carcls.inspection.weights_at_hand import WeightsAtHand
from carcls.system.cuda_driver import Card
from search.driver.nodes import fitting_recipes
from search.driver.nodes.fitting_recipes import keep_portfolio, kept_portfolio, trial_gpu_gb
from search.experiment.experiment import load
from search.experiment.file import paths
from search.experiment.portfolio import builtin_recipes
from search.study.study import Study
from tests.helpers.search.tiny import EXPERIMENT, FIXED

LARGE, SMALL = Card(80 * 1024, (9, 0)), Card(24 * 1024, (8, 6))


@pytest.mark.parametrize(
    ("cards", "gpus", "gb"),
    [
        ([LARGE, SMALL], None, 24.0),
        ([LARGE], 1.0, 80.0),
        ([LARGE], 0.25, 20.0),
        ([LARGE, LARGE], 2.0, 80.0),
        ([LARGE], 0.0, None),
        ([], None, None),
        ([None], 1.0, None),
        ([None, SMALL], 0.5, 12.0),
    ],
)
def test_a_trial_has_its_share_of_the_smallest_gpu(cards: list[Card | None], gpus: float | None, gb: float | None):
    assert trial_gpu_gb(cards, gpus) == gb


@pytest.mark.parametrize(("gpus", "most_gb"), [(0, 0.0), (0.25, 20.0), (1, 80.0)])
def test_recipes_for_a_gpu_that_no_trial_gets_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, most_gb: float
):
    monkeypatch.setattr(fitting_recipes, "cards_seen", lambda _: [LARGE])
    monkeypatch.setattr(fitting_recipes, "_weights_at_hand", lambda _: {("", 0.0): "imagenet"})
    file = tmp_path / "x.yaml"
    file.write_text(EXPERIMENT.replace("search:\n", "search:\n  portfolio: builtin\n"), encoding="utf-8")
    experiment = load(file, [f"search.resources.gpus_per_trial={gpus}", "search.trials=100"])
    with Study.create(tmp_path, "x") as study:
        keep_portfolio(study, experiment, photos=20_000)
        needed = [recipe.gpu_gb for recipe in kept_portfolio(study)]
    assert needed
    assert max(needed) <= most_gb
    assert (max(needed) > 20.0) == (gpus == 1)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """Names of the recipes that a study keeps, and what is said of those left out, on a machine without a network."""
    for cache in ("KERAS_HOME", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(cache, str(tmp_path / cache))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting_recipes, "cards_seen", lambda _: [LARGE])
    monkeypatch.setattr(fitting_recipes, "weights_server_answers", lambda: False)
    monkeypatch.setattr(paths, "find_spec", lambda _: None)
    caplog.set_level(logging.INFO, fitting_recipes.__name__)

    def keep(portfolio: str, *changes: str) -> tuple[list[str], list[str]]:
        (tmp_path / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
        own = [f"search.portfolio={portfolio}", "search.trials=100", "search.resources.gpus_per_trial=1"]
        experiment = load(tmp_path / "x.yaml", [*own, *changes])
        caplog.clear()
        with Study.create(Path(mkdtemp(dir=tmp_path)), "x") as study:
            keep_portfolio(study, experiment, photos=20_000)
            names = [recipe.name for recipe in kept_portfolio(study)]
        said = [record.getMessage() for record in caplog.records if record.name == fitting_recipes.__name__]
        return names, [line for line in said if "is left out" in line]

    return keep


def recipe_file(folder: Path, *changes: tuple[str, str]) -> Path:
    """A fixed recipe in `folder`, with parts of its text replaced."""
    text = FIXED.replace("name: tiny", "name: mine")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([("weights: none", "weights: gone.h5")], "no such file: {folder}/gone.h5"),
        ([("policy: light", "policy: gone.yaml")], "no such file: {folder}/gone.yaml"),
        ([("MobileNet\n  alpha: 0.25", "ViTTiny16")], "ViTTiny16 is a backbone of KerasHub, which is not installed"),
        ([("weights: none", "weights: imagenet")], "its weights are not here"),
    ],
)
def test_an_own_recipe_is_left_out_if_this_machine_lacks_its_files(kept, tmp_path: Path, changes, why) -> None:
    recipe_file(tmp_path, *changes)
    names, left_out = kept("[mine.yaml]")
    assert names == []
    (line,) = left_out
    assert line.startswith(f"portfolio: mine (mine.yaml) is left out: {why.format(folder=tmp_path)}")


def test_a_preset_of_kerashub_counts_once_it_is_on_disk(kept, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "find_spec", lambda name: ModuleSpec(name, None))
    preset = "swin_tiny_patch4_window7_224"
    swin = [("MobileNet\n  alpha: 0.25", "SwinTiny"), ("image_size: 32", "image_size: 224")]
    for word in (preset, "imagenet"):
        recipe_file(tmp_path, *swin, ("weights: none", f"weights: {word}"))
        line = f"portfolio: mine (mine.yaml) is left out: its weights, KerasHub's preset {preset}, are not here"
        assert kept("[mine.yaml]", "train.weights=imagenet") == ([], [line])
    folder = tmp_path / "KAGGLEHUB_CACHE" / "models" / "keras" / "swin-transformer" / "keras" / preset / "1"
    folder.mkdir(parents=True)
    (folder / "model.weights.h5").touch()
    assert kept("[mine.yaml]") == (["mine"], [])


def test_imagenet_weights_of_other_backbones_need_their_server(kept, monkeypatch: pytest.MonkeyPatch) -> None:
    names, left_out = kept("builtin", "train.weights=imagenet")
    assert names == []
    assert all(line.endswith(": its weights are not here") for line in left_out)
    monkeypatch.setattr(fitting_recipes, "weights_server_answers", lambda: True)
    assert kept("builtin", "train.weights=imagenet")[1] == []
    assert kept("builtin")[0] == [], "an experiment that downloads nothing itself downloads nothing for them"


def test_imagenet_weights_that_the_experiment_or_the_cache_has_are_used(kept, tmp_path: Path, monkeypatch) -> None:
    first_two = ["mobilenet_v2_160", "mobilenet_v2_128"]
    own = [*("train.backbone=MobileNetV2", "train.alpha=1.0"), "train.weights=imagenet"]
    assert kept("builtin", *own)[0][:2] == first_two, "the check before the first trial loads them"
    here = (WeightsAtHand("MobileNetV2", 1.0, tmp_path / "w.h5"), WeightsAtHand("SwinTiny", 1.0, tmp_path / "s.h5"))
    monkeypatch.setattr(fitting_recipes, "weights_in", lambda _: here)
    assert kept("builtin")[0][:2] == first_two


def test_a_recipe_whose_final_training_would_be_refused_is_left_out(kept, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fitting_recipes, "weights_server_answers", lambda: True)
    changes = ("train.weights=imagenet", "train.optimizer.kind=adamw", "retrain.optimizer.weight_decay=0.05")
    wrong = f"its final training would be refused: {tmp_path}/x.yaml: retrain.optimizer.weight_decay: adam has none"
    recipe_file(tmp_path)
    names, (line,) = kept("[mine.yaml]", *changes)
    assert names == []
    assert line.startswith(f"portfolio: mine (mine.yaml) is left out: {wrong}")
    names, left_out = kept("builtin", *changes)
    by_name = {recipe.name: recipe for recipe in builtin_recipes()}
    assert {by_name[name].config.optimizer.kind for name in names} == {"adamw", "sgd"}
    assert {line.split()[1] for line in left_out} == by_name.keys() - set(names)
    assert any(wrong in line for line in left_out)
