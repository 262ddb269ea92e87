"""A final training's predictions that are damaged or older than its models: the ensemble goes on without them."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from carcls.scoring.paired_gain import PairedGain
from carcls.splits.split_files import read_split
from search.ensemble.selectable import final_candidates
from search.final.final_study import add_training, open_final_study
from search.final.retrain import final_config
from search.progress.closing_lines import expectations
from search.study.final_members import keep_gain, start_second
from search.study.final_scores import ExtraScore, read_scores
from search.study.folder import StudyFolder
from search.study.predictions import final_predictions
from search.study.study import Study
from tests.helpers.search.tiny import CLASSES
from tests.helpers.search.untrained_study import FOLDS, add_final, finish_files, finish_training, untrained_study


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.rindex(np.float32(1 / CLASSES).tobytes())
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)


def compressed_and_changed(path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["view/plain"] = np.random.default_rng(0).random(arrays["view/plain"].shape, np.float32)
    np.savez_compressed(path, **arrays)
    content = bytearray(path.read_bytes())
    at = content.index(b"view/plain.npy") + 60
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_plain(path: Path) -> None:
    with np.load(path) as stored:
        np.savez(path, **{key: value for key, value in stored.items() if key != "view/plain"})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Path, bytes]:
    folder, experiment = untrained_study(tmp_path_factory.mktemp("damaged"))
    add_final(folder, experiment)
    return folder, experiment.data.root, folder.out_of_fold.read_bytes()


@pytest.mark.parametrize("damage", [changed, compressed_and_changed, cut_off, emptied, without_plain])
def test_damaged_predictions_are_named_and_left_out(
    study: tuple[StudyFolder, Path, bytes], damage: Callable[[Path], None]
) -> None:
    folder, data, whole = study
    folder.out_of_fold.write_bytes(whole)
    split = read_split(folder.split, data)
    _, (found,), _ = final_candidates(folder, split)
    assert found.name == "2 folds of the final training"
    assert final_predictions(folder, data) is not None
    damage(folder.out_of_fold)
    _, none, (missing,) = final_candidates(folder, split)
    assert none == ()
    assert missing.startswith(f"2 folds of the final training: {folder.out_of_fold}: cannot be read")
    assert final_predictions(folder, data) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"tta_interval": 1}', "\x00"])
def test_damaged_scores_are_named_and_written_anew(tmp_path: Path, content: str) -> None:
    folder, experiment = untrained_study(tmp_path)
    add_final(folder, experiment)
    folder.scores.write_text(content, encoding="utf-8")
    _, none, (missing,) = final_candidates(folder, read_split(folder.split, experiment.data.root))
    assert none == ()
    assert missing.startswith(f"the final training: {folder.scores}: cannot be read (damaged): 'carsearch retrain ")
    with Study.open(folder.root, read_only=True) as study:
        (line,) = expectations(folder, experiment, study)
    assert line.startswith(f"final model: {folder.scores}: cannot be read")
    asked = replace(experiment, folds=FOLDS)
    with open_final_study(folder, asked, final_config(folder, asked, 0)) as again:
        assert len(again.records()) == FOLDS


def test_folds_that_are_made_again_with_pseudo_labels_are_no_candidate_until_they_are_scored(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path)
    add_final(folder, experiment)
    split = read_split(folder.split, experiment.data.root)
    gain = PairedGain(photos=12, accuracy_before=0.5, accuracy_after=0.6, saved=0.1, low=0.05, high=0.2, helps=True)
    with Study.open(folder.retrain) as study:
        config = study.config(0)
        assert start_second(study) == FOLDS
        add_training(study, config, fold=0)
        _, (first,), _ = final_candidates(folder, split)
        assert [one.folder.name for one in first.weights] == ["0000", "0001"], "nothing is decided"
        finish_training(study, FOLDS, config)
        keep_gain(study, "pseudo", gain)
        add_training(study, config, fold=1)
        waiting = final_candidates(folder, split)
        finish_training(study, FOLDS + 1, config)
        for number in (FOLDS, FOLDS + 1):
            finish_files(folder.retrain_study.trial(number), study.record(number).reports[-1].best_weights)
        unscored = final_candidates(folder, split)
    for _, none, (missing,) in (waiting, unscored):
        assert none == ()
        assert missing == ("the final training: it is being made again with pseudo-labels: train that to its end first")
    scores = replace(read_scores(folder), pseudo=ExtraScore(3, gain))
    folder.scores.write_text(json.dumps(asdict(scores)), encoding="utf-8")
    _, (second,), _ = final_candidates(folder, split)
    assert [one.folder.name for one in second.weights] == ["0002", "0003"]
