"""docs/experiment-file.md names every key with its default, and which keys of a study may change."""

import json
import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from carcls.config import TrainConfig
from search.experiment.changes import RESUMABLE, RETRAINABLE
from search.experiment.schema import all_fields
from search.experiment.settings import ExperimentSections

REFERENCE = Path(__file__).parents[3] / "docs" / "experiment-file.md"


def documented():
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| .* \| (.+) \|$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    return {key: default.strip("`") for key, default in rows}


def as_written(info):
    default = info.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, tuple):
        return f"[{', '.join(default)}]"
    if default is None or isinstance(default, bool | int | float):
        return json.dumps(default)
    return "{}" if hasattr(default, "model_fields_set") or default == {} else str(default)


def test_the_reference_names_every_key_and_its_default():
    fields = {".".join(path): as_written(info) for path, info in all_fields(ExperimentSections)}
    fields |= {".".join(("train", *path)): as_written(info) for path, info in all_fields(TrainConfig)}
    assert documented() == fields


def test_the_reference_names_what_a_study_that_exists_may_change():
    text = REFERENCE.read_text(encoding="utf-8")
    for command, keys in (("resume", RESUMABLE), ("retrain", RETRAINABLE)):
        named = re.search(rf"^- `{command} --set`(.*?)\.$", text, re.MULTILINE | re.DOTALL)
        assert tuple(re.findall(r"`([a-z_.]+)`", named[1])) == keys
