"""Messages name the whole command that trains from scratch: `run FILE --replace` would delete the study's trials."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.errors import StudyError
from search.final.final_study import open_final_study
from search.final.retrain import final_config, retrain
from search.study.finals_beside import start_over_command
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.untrained_study import FOLDS, add_final, untrained_study


def test_the_command_is_about_this_final_training_alone(tmp_path: Path) -> None:
    recipe = StudyFolder(tmp_path / "recipe")
    assert start_over_command(recipe) == "carsearch train FILE --replace"
    study = StudyFolder(tmp_path)
    study.log.touch()
    assert start_over_command(study) == f"carsearch retrain {tmp_path} --replace"
    assert start_over_command(study.beside(12)) == f"carsearch retrain {tmp_path} --beside --trial 12 --replace"


def test_a_searchs_final_trainings_name_it(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, per_class=5)
    add_final(folder, experiment)
    asked = replace(experiment, folds=FOLDS)
    said: list[str] = []

    def trained(there: StudyFolder, number: int, changes: Sequence[tuple[str, object]] = ()) -> None:
        config = final_config(folder, asked, number).model_copy(update=dict(changes))
        retrain(there, asked, config, trial=number, say=said.append)

    command = f"carsearch retrain {folder.root} --replace"
    trained(folder, 0)
    assert said == [f"{folder.retrain} is already finished; '{command}' trains again from scratch"]
    with pytest.raises(StudyError, match=f"holds the training of another configuration: '{command}' deletes it$"):
        trained(folder, 0, [("batch_size", 4)])

    there = folder.beside(1)
    there.retrain.mkdir()
    with open_final_study(there, asked, final_config(folder, asked, 1)) as study:
        study.start_segment(0, 1)
        study.fail(0, "no finite loss", infeasible=True)
    command = f"carsearch retrain {folder.root} --beside --trial 1 --replace"
    with pytest.raises(StudyError, match=f": no finite loss; '{command}' trains again from scratch$"):
        trained(there, 1)
    assert len(Study.open(folder.root, read_only=True).records()) == 2
