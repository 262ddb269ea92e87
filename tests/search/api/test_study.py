"""A study in Python: frames, plots and HTML of recorded trials, without training."""

import subprocess
import sys

import numpy as np
import pytest

import search
from search.api.experiments import override_texts
from search.driver.create import create_study
from search.errors import ExperimentError, StudyError
from search.study.folder import StudyFolder
from search.study.study import Study as StudyRecords
from tests.helpers.search.tiny import EXPERIMENT, write_tiny
from tests.helpers.search.trial_builders import epoch_report

PARAMS = {"train.head.dropout": 0.25, "train.stages.head.learning_rate": 0.005}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A complete trial of accuracy 0.75, one paused at 0.875, and one that failed."""
    cwd = tmp_path_factory.mktemp("api")
    file = write_tiny(cwd, EXPERIMENT.replace("root: data", f"root: {cwd / 'data'}") + f"results: {cwd / 'results'}\n")
    experiment = search.load(file)
    made = create_study(experiment)
    with StudyRecords.open(made.root) as study:
        for number in range(3):
            params = PARAMS | {"train.head.dropout": 0.1 * number}
            study.add_trial(params, experiment.bind(params), is_baseline=number == 0)
            study.start_segment(number, 1)
        for epoch, accuracy in enumerate((0.5, 0.625), start=1):
            study.report(0, epoch_report(epoch, accuracy=accuracy, ended=epoch == 2))
        study.report(0, epoch_report(3, stage=1, accuracy=0.75, ended=True))
        study.reach_stage(0)
        study.report(1, epoch_report(1, accuracy=0.875))
        study.fail(2, "<b>loss</b> is NaN", True, traceback=None)
    return made


def test_trials_are_a_frame(folder):
    trials = search.Study(folder.root).trials
    assert list(trials.index) == [0, 1, 2]
    assert list(trials["state"]) == ["complete", "running", "infeasible"]
    assert list(trials["epochs"]) == [3, 1, 0]
    assert list(trials["accuracy"][:2]) == [0.75, 0.875]
    assert np.isnan(trials["accuracy"][2])
    assert list(trials["head.dropout"]) == pytest.approx([0.0, 0.1, 0.2])
    assert trials.loc[2, "cause"] == "<b>loss</b> is NaN"
    assert trials.loc[0, "seconds"] == 3 * 3.75


def test_curves_are_a_frame_of_epochs(folder):
    curves = search.Study(folder.root).curves
    assert list(curves[curves["trial"] == 0]["accuracy"]) == [0.5, 0.625, 0.75]
    assert list(curves["stage"]) == ["head", "head", "half", "head"]
    assert set(curves["image_size"]) == {96, 128}


def test_the_best_is_one_that_finished(folder):
    best = search.Study(folder.root).best
    assert best is not None
    assert (best.number, best.accuracy, best.params["train.head.dropout"]) == (0, 0.75, 0.0)


def test_figures_show_the_recorded_numbers(folder):
    study = search.Study(folder.root)
    lines = study.plot_curves().axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[0.5, 0.625, 0.75], [0.875], []]
    assert list(study.plot_best().axes[0].get_lines()[0].get_ydata()) == [0.75, 0.875]
    rate = study.plot_parameter("stages.head.learning_rate").axes[0]
    assert rate.get_xscale() == "log"
    assert study.plot_parameter("train.head.dropout").axes[0].get_xscale() == "linear"
    with pytest.raises(KeyError, match=r"train\.head\.dropout"):
        study.plot_parameter("head.drop")


def test_a_notebook_shows_the_best_trials_and_no_markup_of_others(folder):
    page = search.Study(folder.root)._repr_html_()
    assert page.index("<td>0001</td>") < page.index("<td>0000</td>"), "0.875 before 0.75"
    assert "tiny: 1 running, 1 complete, 1 infeasible" in page
    assert "<b>" not in page


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(StudyError, match="holds no study"):
        search.Study(tmp_path)


def test_a_dictionary_is_an_experiment(tmp_path):
    from ruamel.yaml import YAML

    (tmp_path / "tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    tree = YAML(typ="safe").load(EXPERIMENT)
    assert search.build(tree) == search.load(tmp_path / "tiny.yaml")
    tree["train"]["head"]["dropout"] = search.uniform(0.1, 0.2)
    tree["train"]["batch_size"] = search.choice(8, 16)
    tree["data"]["root"] = tmp_path / "photos"
    built = search.build(tree)
    assert str(built.space.domains["train.head.dropout"]) == "uniform [0.1, 0.2]"
    assert str(built.space.domains["train.batch_size"]) == "choice [8, 16]"
    assert built.data.root == tmp_path / "photos"


def test_a_wrong_dictionary_names_every_problem():
    with pytest.raises(ExperimentError) as wrong:
        search.build({"name": "x", "data": {"root": "data"}, "train": {"batchsize": search.loguniform(0, 1)}})
    assert "experiment:" in str(wrong.value)
    assert "train.batchsize" in str(wrong.value)


def test_named_options_and_values_exclude_each_other():
    assert search.choice(a={"x": 1}, b={"x": 2}) == {"choice": {"a": {"x": 1}, "b": {"x": 2}}}
    with pytest.raises(TypeError, match="not both"):
        search.choice(1, a={})


def test_changes_are_overrides():
    assert override_texts({"search__trials": 8, "data__root": "a: b", "tta__views": ("plain", "flip")}) == [
        "search.trials=8",
        'data.root="a: b"',
        'tta.views=["plain", "flip"]',
    ]


def test_importing_search_imports_nothing_heavy():
    check = (
        "import sys, search; heavy = {'keras', 'numpy', 'optuna', 'pandas', 'pydantic', 'ray', 'tensorflow'};"
        "print(sorted(heavy & set(sys.modules))); search.build; search.Study;"
        "print(sorted({'keras', 'matplotlib', 'pandas', 'ray', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        search.fit  # noqa: B018


def test_a_notebook_shows_a_figure_without_pyplot(folder):
    assert search.Study(folder.root).plot_curves()._repr_png_().startswith(b"\x89PNG")
