"""What a study remembers of GPUs that failed in its latest run, for `carsearch status` and the report."""

import json
from collections.abc import Sequence

from search.policy.node_health import NodeHealth, is_spoilt
from search.study.study import Study

GPUS_KEY = "gpus"
"""Key of the study's value. Absent until a GPU fails."""


def failing_gpus(study: Study) -> tuple[NodeHealth, ...]:
    """GPUs with faults since their last epoch in the latest run; empty if none ever failed."""
    text = study.get_value(GPUS_KEY)
    kept = json.loads(text) if isinstance(text, str) else {"nodes": []}
    return tuple(gpu for gpu in map(NodeHealth.from_json, kept["nodes"]) if gpu.faults)


def failing_gpu_lines(gpus: Sequence[NodeHealth], exclude_after: int = 2) -> tuple[str, ...]:
    """One line for each, for the terminal."""
    return tuple(
        f"{gpu.name}: {'left out, ' if is_spoilt(gpu, exclude_after) else ''}{gpu.faults} faults in a row: {gpu.cause}"
        for gpu in gpus
    )
