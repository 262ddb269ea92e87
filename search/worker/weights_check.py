"""Checks that this machine can train: the framework loads, and the backbones' weights are usable.

Run as `python -m search.worker.weights_check`, because it imports TensorFlow and the driver must not. It reads the
configurations as one line of JSON from stdin and writes `StartProblems` as one line to stdout.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from carcls.config import TrainConfig
from carcls.errors import FrameworkError, WeightsError


@dataclass(frozen=True, slots=True)
class StartProblems:
    """What keeps a machine from training. Plain values: it travels as JSON."""

    framework: str = ""
    """Why the framework cannot be loaded; empty if it can."""
    weights: tuple[str, ...] = ()
    """One line for each configuration with unusable weights."""


def start_problems(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`StartProblems` as JSON. Loads each configuration's weights once, downloading them if needed."""
    try:
        from carcls.models.classifier import check_weights  # noqa: PLC0415 - keras, whose import may fail
    except FrameworkError as error:
        return asdict(StartProblems(framework=str(error)))
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything
        lines = str(error).strip().splitlines() or [""]
        return asdict(StartProblems(framework=f"{type(error).__name__}: {lines[-1]}"))
    problems = []
    for values in configs:
        try:
            check_weights(TrainConfig.model_validate(values))
        except WeightsError as error:
            problems.append(str(error))
    return asdict(StartProblems(weights=tuple(problems)))


def main() -> None:
    """Answers on stdout, and redirects what libraries print to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    json.dump(start_problems(json.loads(sys.stdin.readline())), answer)
    answer.close()


if __name__ == "__main__":
    main()
