"""The shipped recipes: their settings, and that each runs through all its stages to a submission on real photos."""

import csv
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from carcls.config import TrainConfig
from search.experiment.experiment import load
from search.final.final_study import final_reports
from search.study.folder import StudyFolder
from tests.helpers.search.processes import run_cli

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
TRAIN_PER_CLASS = 6
TEST_PHOTOS = 20
WITHIN_S = 1200.0
"""For one command: each stage of EfficientNet is traced, and test machines may be busy."""


def recipe(name: str, *overrides: str) -> TrainConfig:
    return load(EXPERIMENTS / f"{name}.yaml", overrides).bind({})


def shape(config: TrainConfig) -> list[tuple[str, float, int | str]]:
    return [(s.name, s.unfreeze, config.stage_image_size(number)) for number, s in enumerate(config.stages)]


def test_xception_stages_are_the_first_hand_run_system() -> None:
    config = recipe("xception_stages")
    assert (config.backbone, config.weights) == ("Xception", "imagenet")
    assert shape(config) == [
        ("head", 0.0, 224), ("half", 0.5, 224), ("most", 0.75, 224), ("full", 1.0, 224), ("large", 1.0, 448),
    ]  # fmt: skip
    assert all(stage.schedule.kind == "plateau" for stage in config.stages)
    assert all(stage.early_stopping for stage in config.stages)
    assert config.augment.policy != "none"


@pytest.mark.parametrize("number", range(8))
def test_efficientnet_by_choice_passes_check_with_nothing_else_changed(number: int) -> None:
    name = f"EfficientNetB{number}"
    chosen = recipe("xception_stages", f"train.backbone={name}")
    assert chosen == recipe("xception_stages").model_copy(update={"backbone": name})


def test_inception_stages_are_the_second() -> None:
    config = recipe("inception_stages")
    assert (config.backbone, config.weights) == ("InceptionV3", "imagenet")
    assert config.head.batch_norm
    assert [(name, unfreeze) for name, unfreeze, _ in shape(config)] == [
        ("head", 0.0), ("half", 0.5), ("most", 0.75), ("full", 1.0),
    ]  # fmt: skip


def test_contest_best_is_the_published_schedule() -> None:
    config = recipe("contest_best")
    assert (config.backbone, config.weights) == ("EfficientNetB3", "imagenet")
    assert shape(config) == [("head", 0.0, 300), ("half", 0.5, 300), ("full", 1.0, 300), ("large", 1.0, 512)]
    assert [(stage.epochs, stage.learning_rate) for stage in config.stages] == [
        (11, 1e-3), (10, 1e-4), (10, 1e-5), (10, 1e-4),
    ]  # fmt: skip
    numbers = range(len(config.stages))
    assert [config.stage_batch_size(number) for number in numbers] == [32, 32, 32, 8]
    assert [config.trains_statistics(number) for number in numbers] == [False, False, False, True]
    assert (config.optimizer.kind, config.optimizer.amsgrad) == ("adam", True)
    assert config.head.pooling == "avg"
    assert [layer.model_dump(exclude_defaults=True) for layer in config.head.layers or ()] == [
        {"kind": "dense", "width": 128, "bias": False, "l2": 0.01},
        {"kind": "batch_norm"},
        {"kind": "relu"},
        {"kind": "dropout", "rate": 0.25},
    ]
    for stage in config.stages:
        assert stage.schedule.kind == "exponential"
        assert stage.schedule.floor == pytest.approx(0.9**stage.epochs, rel=1e-3), "0.9 of itself with each epoch"


def test_rectangles_is_the_logged_schedule() -> None:
    config = recipe("rectangles")
    assert (config.backbone, config.weights, config.fit) == ("Xception", "imagenet", "pad")
    assert shape(config) == [
        ("head", 0.0, "480x640"), ("quarter", 0.25, "480x640"), ("half", 0.5, "480x640"), ("most", 0.75, "480x640"),
    ]  # fmt: skip
    assert [stage.epochs for stage in config.stages] == [6, 6, 5, 5]
    assert {stage.learning_rate for stage in config.stages} == {8e-4}
    assert [config.trains_statistics(number) for number in range(4)] == [False, True, True, True]
    assert config.head.pooling == "max"
    assert [layer.kind for layer in config.head.layers or ()] == [
        "batch_norm",
        "dropout",
        "dense",
        "relu",
        "batch_norm",
    ]
    for stage in config.stages:
        steps = 364 * stage.epochs  # the log's steps of an epoch
        assert stage.schedule.floor == pytest.approx(0.9 ** (steps / 100), rel=1e-3), "0.9 of itself in 100 steps"


def test_the_failed_experiments_are_one_search_around_the_recipe_that_worked() -> None:
    search = load(EXPERIMENTS / "inception_search.yaml")
    assert search.bind(search.baseline) == recipe("inception_stages")
    same = load(EXPERIMENTS / "inception_stages.yaml")
    assert (search.data, search.tta) == (same.data, same.tta)
    sizes = {
        name: search.bind(search.baseline | {"train.backbone": name}).image_size
        for name in search.space.domains["train.backbone"].corners()
    }
    assert sizes == {"InceptionV3": 299, "Xception": 299, "EfficientNetB5": 456, "EfficientNetB7": 600}


def test_check_accepts_the_recipes_unchanged_and_with_another_backbone() -> None:
    for arguments in (
        ["xception_stages"],
        ["xception_stages", "--set", "train.backbone=EfficientNetB6"],
        ["inception_stages"],
        ["contest_best"],
        ["rectangles"],
    ):
        file, *overrides = arguments
        done = run_cli("check", f"experiments/{file}.yaml", *overrides, cwd=EXPERIMENTS.parent)
        assert done.returncode == 0, done.stderr
        assert "one fixed recipe" in done.stdout
    done = run_cli("check", "experiments/inception_search.yaml", cwd=EXPERIMENTS.parent)
    assert done.returncode == 0, done.stderr
    assert "train.backbone: choice [InceptionV3, Xception, EfficientNetB5, EfficientNetB7]" in done.stdout


@dataclass(frozen=True)
class Cut:
    """A recipe reduced to a minute on two cores, with all its stages."""

    name: str
    image_size: int | str
    stage_sizes: tuple[int | str, ...]


CUTS = (
    Cut("xception_stages", 72, (72, 72, 72, 72, 144)),
    Cut("inception_stages", 75, (75, 75, 75, 75)),
    Cut("contest_best", 48, (48, 48, 48, 82)),
    Cut("rectangles", "72x96", ("72x96", "72x96", "72x96", "72x96")),
)


def some_photos(source: Path, root: Path) -> None:
    """A few photos of each class in the contest's layout, and the first test photos of the sample."""
    with (source / "train.csv").open(newline="") as rows:
        by_class = defaultdict(list)
        for row in csv.DictReader(rows):
            by_class[row["Category"]].append(row["Id"])
    chosen = [(photo, name) for name, photos in by_class.items() for photo in photos[:TRAIN_PER_CLASS]]
    for photo, name in chosen:
        (root / "train" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "train" / name / photo, root / "train" / name / photo)
    (root / "train.csv").write_text("Id,Category\n" + "".join(f"{photo},{name}\n" for photo, name in chosen))
    sample = (source / "sample-submission.csv").read_text().splitlines()[: TEST_PHOTOS + 1]
    (root / "sample-submission.csv").write_text("\n".join(sample) + "\n")
    (root / "test_upload").mkdir()
    for line in sample[1:]:
        photo = line.partition(",")[0]
        shutil.copy(source / "test_upload" / photo, root / "test_upload" / photo)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.release
@pytest.mark.timeout(2 * WITHIN_S)
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
def test_a_recipe_runs_through_all_stages_tta_and_submission(cut: Cut, shared: Path, tmp_path: Path) -> None:
    some_photos(shared / "data" / "cars10", tmp_path / "data")
    stages = recipe(cut.name).stages
    changes = ["data.root=data", "train.weights=none", f"train.image_size={cut.image_size}", "train.batch_size=16"]
    changes += ["data.validation.fraction=0.15"]  # some recipes hold back too few of so few photos
    changes += [f"train.stages.{stage.name}.epochs=1" for stage in stages]
    file = EXPERIMENTS / f"{cut.name}.yaml"
    sets = [part for change in changes for part in ("--set", change)]
    trained = run_cli("train", str(file), *sets, cwd=tmp_path, within_s=WITHIN_S)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    folder = StudyFolder(tmp_path / "results" / cut.name)
    submitted = run_cli("submit", str(folder.root), cwd=tmp_path, within_s=WITHIN_S)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr

    assert_every_stage_trained(folder, cut, [stage.name for stage in stages])
    assert_scored_with_tta_and_costs(folder, cut, trained.stdout)
    assert_submission_is_the_models(folder, tmp_path / "data")


def assert_every_stage_trained(folder: StudyFolder, cut: Cut, names: list[str]) -> None:
    (reports,) = final_reports(folder)
    assert [report.stage_name for report in reports] == names
    assert tuple(report.image_size for report in reports) == cut.stage_sizes
    assert all(report.stage_ended for report in reports)
    trained = [report.trainable_parameters for report in reports]
    assert trained == sorted(trained), "each stage trains what the one before did, and more"
    assert trained[0] < trained[1]


def assert_scored_with_tta_and_costs(folder: StudyFolder, cut: Cut, printed: str) -> None:
    # TensorFlow is imported only where a recipe has really run.
    from carcls.inference.export import load_model
    from search.study.final_scores import read_scores, score_lines

    scores = read_scores(folder)
    candidates = load(folder.experiment).tta.views
    assert scores.tta_views[0] == "plain"
    assert set(scores.tta_views) <= set(candidates)
    assert load_model(folder.model).card.tta_views == scores.tta_views
    assert scores.image_size in cut.stage_sizes
    assert scores.validation_photos == 10
    cost = scores.efficiency
    assert cost is not None
    assert tuple(stage.image_size_px for stage in cost.stages) == cut.stage_sizes
    assert all(stage.seconds > 0 and stage.images_per_s > 0 for stage in cost.stages)
    assert cost.stages[-1].trainable_parameters < cost.parameters, "BatchNorm's statistics are never trained"
    assert cost.model_bytes > 4 * cost.parameters, "float32 weights and the graph"
    for line in score_lines(scores):
        assert line in printed.splitlines()


def assert_submission_is_the_models(folder: StudyFolder, root: Path) -> None:
    from carcls.inference.export import load_model

    with folder.submission.open(newline="") as file, (root / "sample-submission.csv").open(newline="") as sample:
        rows, expected = list(csv.DictReader(file)), list(csv.DictReader(sample))
    assert [row["Id"] for row in rows] == [row["Id"] for row in expected]
    assert list(rows[0]) == ["Id", "Category"]
    answers = load_model(folder.model).predict_files([root / "test_upload" / row["Id"] for row in rows])
    assert [answer.error for answer in answers] == [None] * TEST_PHOTOS
    assert [answer.label for answer in answers] == [row["Category"] for row in rows]
