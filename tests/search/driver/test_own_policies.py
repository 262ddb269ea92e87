"""The user's own augmentation policies: checked before anything trains, and copied into the study."""

import json
from dataclasses import replace
from pathlib import Path

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import pytest

from carcls.augment.views import policy_fingerprint
from carcls.errors import ConfigError, DataError
from search.driver.create import create_recipe_folder, create_study
from search.errors import ExperimentError, StudyError
from search.experiment.experiment import load
from search.final.final_study import final_reports
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import EXPERIMENT, FIXED, write_tiny

FLIP = A.Compose([A.HorizontalFlip(p=0.5)])
TURN = A.Compose([A.Affine(rotate=(-5, 5), p=0.5)])
LOUD = A.Compose([A.RGBShift(p=1.0), A.CoarseDropout(p=0.5)])


def own(text: str, policy: str = "mine.yaml") -> str:
    return text.replace("policy: light", f"policy: {policy}")


def save(folder: Path, transform: object, name: str = "mine.yaml") -> Path:
    A.save(transform, folder / name, data_format="yaml")
    return folder / name


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_study_keeps_its_original_policy(tmp_path):
    file = write_tiny(tmp_path, own(EXPERIMENT))
    mine = save(tmp_path, FLIP)
    began_with = mine.read_bytes()
    folder = create_study(load(file))
    save(tmp_path, LOUD)

    frozen = open_experiment(folder)
    policy = Path(frozen.bind(frozen.baseline).augment.policy)
    assert policy.parent == folder.policies
    assert policy.read_bytes() == began_with
    assert [path.name for path in folder.policies.iterdir()] == [policy.name]
    assert policy.name.startswith("mine-")
    mine.unlink()
    assert open_experiment(folder).missing_files() == ()
    assert policy_fingerprint(str(policy)).startswith("file ")


def test_every_policy_of_an_experiment_is_copied(tmp_path):
    for name, transform in (("a.yaml", FLIP), ("b.yaml", TURN), ("c.yaml", LOUD)):
        save(tmp_path, transform, name)
    text = own(EXPERIMENT, "{choice: [light, a.yaml, b.yaml]}").replace(
        "  stages: {top: {epochs: 2}}", "  augment: {policy: c.yaml}"
    )
    text = text.replace("  trials: 4\n", "  trials: 4\n  baseline: {augment: {policy: b.yaml}}\n")
    folder = create_study(load(write_tiny(tmp_path, text)))
    frozen = open_experiment(folder)
    copies = {path.name[0]: str(path) for path in folder.policies.iterdir()}
    assert sorted(copies) == ["a", "b", "c"]
    assert frozen.baseline["train.augment.policy"] == copies["b"]
    assert frozen.space.domains["train.augment.policy"].values == ("light", copies["a"], copies["b"])
    config = frozen.bind({**frozen.baseline, "train.augment.policy": copies["a"]})
    assert frozen.retrain_config(config).augment.policy == copies["c"]


@pytest.mark.parametrize("create", [create_study, create_recipe_folder])
def test_an_invalid_policy_creates_no_folder(tmp_path, create):
    text = EXPERIMENT if create is create_study else FIXED
    file = write_tiny(tmp_path, own(text))
    save(tmp_path, A.Compose([A.HorizontalFlip(), A.Normalize()]))
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/mine\.yaml: transform 2 \(Normalize\): pixels must stay"):
        create(load(file))
    assert not (tmp_path / "results").exists()


def test_quarter_turns_are_refused_if_any_photo_may_be_a_rectangle(tmp_path):
    text = own(EXPERIMENT, "{choice: [light, mine.yaml]}")
    save(tmp_path, A.Compose([A.RandomRotate90(p=0.5)]))
    final = text.replace("retrain:\n", "retrain:\n  image_size: [32, 48]\n")
    for wide in (text.replace("image_size: 32", "image_size: {choice: [32, [32, 48]]}"), final):
        assert wide != text
        with pytest.raises(ConfigError, match=r"mine\.yaml: transform 1 \(RandomRotate90\): turns a photo"):
            create_study(load(write_tiny(tmp_path, wide)))
    assert not (tmp_path / "results").exists()
    create_study(load(write_tiny(tmp_path, text)))


def test_a_missing_policy_is_named_with_its_line(tmp_path):
    file = write_tiny(tmp_path, own(EXPERIMENT))
    with pytest.raises(ExperimentError, match=r"train\.augment\.policy: no such file: .*mine\.yaml"):
        create_study(load(file))


def test_a_recipe_continues_only_with_the_same_policy(tmp_path):
    file = write_tiny(tmp_path, own(FIXED))
    mine = save(tmp_path, FLIP)
    folder = create_recipe_folder(load(file))
    assert create_recipe_folder(load(file)) == folder
    save(tmp_path, LOUD)
    with pytest.raises(StudyError, match="holds the results of other settings"):
        create_recipe_folder(load(file))
    mine.unlink()
    with pytest.raises(ExperimentError, match=r"cannot read .*mine\.yaml: No such file"):
        create_recipe_folder(load(file))


def test_a_recipe_with_more_folds_than_its_photos_allow_replaces_nothing(tmp_path):
    file = write_tiny(tmp_path, FIXED)
    folder = create_recipe_folder(load(file))
    folder.model.parent.mkdir()
    folder.model.touch()
    with pytest.raises(DataError, match="36 photos are too few for 99 folds"):
        create_recipe_folder(replace(load(file), folds=99), replace=True)
    assert folder.model.exists()


def test_a_study_without_own_policies_has_no_policy_folder(tmp_path):
    assert not create_study(load(write_tiny(tmp_path))).policies.exists()


@pytest.mark.slow
def test_a_recipe_trains_with_own_policy_mixing_and_balanced_sampling(tmp_path):
    text = own(FIXED).replace("views: 2}", "views: 2, mixup: 0.2, cutmix: 1.0}\n  class_balance: sampling")
    file = write_tiny(tmp_path, text)
    save(tmp_path, LOUD)
    done = run_cli("train", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "results" / "tiny"
    [reports] = final_reports(StudyFolder(study))
    assert len(reports) == 3
    assert all(0 < report.train_loss < 10 for report in reports)
    config = json.loads((study / "retrain" / "config.json").read_text())
    assert Path(config["augment"]["policy"]).parent == study / "policies"
