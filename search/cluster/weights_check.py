"""What is wrong with backbones' weights: `python -m search.cluster.weights_check`, configurations in, problems out.

A program of its own: it imports TensorFlow, which the driver does without. A line of JSON on stdin, one on stdout.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from carcls.config import TrainConfig
from carcls.errors import WeightsError


def weights_problems(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Loads each configuration's weights once, downloaded where they are not here yet: one line for each that fails."""
    from carcls.models.classifier import check_weights  # noqa: PLC0415 - keras, for the process that checks alone

    problems = []
    for values in configs:
        try:
            check_weights(TrainConfig.model_validate(values))
        except WeightsError as error:
            problems.append(str(error))
    return problems


def main() -> None:
    """Nothing but the answer reaches stdout, whatever the libraries print."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    json.dump(weights_problems(json.loads(sys.stdin.readline())), answer)
    answer.close()


if __name__ == "__main__":
    main()
