"""What keeps trials from being trained on this machine: the framework, or the backbones' weights.

`python -m search.worker.weights_check`: a program of its own, since it imports TensorFlow, which the driver does
without. A line of JSON on stdin, the configurations; one on stdout, the answer.
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
class Found:
    """What is wrong on a machine. Plain values: it travels as JSON."""

    framework: str = ""
    """Why nothing can be trained; empty where the framework is there."""
    weights: tuple[str, ...] = ()
    """One line for each configuration whose weights cannot be used."""


def start_problems(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`Found` as JSON. Loads each configuration's weights once, downloaded where they are not here yet."""
    try:
        from carcls.models.classifier import check_weights  # noqa: PLC0415 - keras, for the process that checks alone
    except FrameworkError as error:
        return asdict(Found(framework=str(error)))
    except Exception as error:  # noqa: BLE001 - a broken library raises anything
        lines = str(error).strip().splitlines() or [""]
        return asdict(Found(framework=f"{type(error).__name__}: {lines[-1]}"))
    problems = []
    for values in configs:
        try:
            check_weights(TrainConfig.model_validate(values))
        except WeightsError as error:
            problems.append(str(error))
    return asdict(Found(weights=tuple(problems)))


def main() -> None:
    """Nothing but the answer reaches stdout, whatever the libraries print."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    json.dump(start_problems(json.loads(sys.stdin.readline())), answer)
    answer.close()


if __name__ == "__main__":
    main()
