"""The final training: one configuration through all its stages, then scored plain and with TTA, then one model file.

Serves `carsearch retrain STUDY` (the winner with the file's `retrain:` overrides) and `carsearch train FILE` alike.
"""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ruamel.yaml import YAML

from carcls import atomic
from carcls.config import TrainConfig
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.final_lock import retraining
from search.final_training import FinalTraining
from search.folder import StudyFolder
from search.scores import Scores, read_scores
from search.study import Study

_NAME_LENGTH = 57
"""What a recipe's name keeps of its study's, so that with its ending it is a valid name again."""


def final_config(folder: StudyFolder, experiment: Experiment, trial: int | None) -> TrainConfig:
    """What the final training runs: a trial's configuration with the `retrain:` settings, or the fixed recipe."""
    if trial is None:
        return experiment.bind({})
    return experiment.retrain_config(Study.open(folder.root, read_only=True).config(trial))


def retrain(
    folder: StudyFolder,
    experiment: Experiment,
    config: TrainConfig,
    *,
    trial: int | None,
    say: Callable[[str], None],
) -> Scores:
    """Trains, or goes on where an earlier call was cut off; scores; exports. Returns at once where all is done.

    Raises StudyError where another configuration's training stands there or another process is at work on it, and
    whatever `FinalTraining.run` raises.
    """
    with retraining(folder):
        _claim(folder, experiment, config)
        if folder.scores.exists() and folder.model.exists():
            say(f"{folder.retrain} is finished already; '--replace' trains anew")
            return read_scores(folder.scores)
        scores = FinalTraining(folder, experiment, config, trial=trial, say=say).run()
        atomic.write_text(folder.scores, json.dumps(asdict(scores), indent=2))
        return scores


def _claim(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> None:
    """Writes the configuration, or checks that the training which stands there has the same."""
    path = folder.retrain / "config.json"
    text = config.model_dump_json(indent=2)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise StudyError(f"{folder.retrain} holds the training of another configuration: '--replace' deletes it")
    folder.retrain.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)
    recipe = io.StringIO()
    YAML(typ="safe").dump(_recipe(experiment, config), recipe)
    atomic.write_text(folder.recipe, recipe.getvalue())


def _recipe(experiment: Experiment, config: TrainConfig) -> dict[str, Any]:
    """The same training as an experiment file without domains."""
    return {
        "name": f"{experiment.name[:_NAME_LENGTH]}-recipe",
        "data": experiment.data.model_dump(mode="json"),
        "train": config.model_dump(mode="json"),
        # The seed is that of the views.
        "search": {"seed": experiment.search.seed, "deterministic": experiment.search.deterministic},
        "tta": experiment.tta.model_dump(mode="json"),
        "results": str(experiment.results),
        "store": experiment.store.model_dump(mode="json"),
    }
