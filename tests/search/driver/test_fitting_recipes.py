"""The portfolio of a new study is judged by what one of its trials gets of this machine."""

from pathlib import Path

import pytest

from carcls.system.cuda_driver import Card
from search.driver.nodes import fitting_recipes
from search.driver.nodes.fitting_recipes import keep_portfolio, kept_portfolio, trial_gpu_gb
from search.experiment.experiment import load
from search.study.study import Study
from tests.helpers.search.tiny import EXPERIMENT

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
