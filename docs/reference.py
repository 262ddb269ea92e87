"""Writes the reference pages from the code: `python docs/reference.py`. A test fails while they are stale.

cli.md   every command, from typer
events.schema.json  the lines of `run --json`, with meanings from the docstrings under the fields
keys.md  every key of an experiment file, from the pydantic schema: type and bounds from the annotation, the meaning
         from the docstring under the field
"""

import ast
import inspect
import json
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))  # called as a script, Python puts docs/ on the path and not the repository

import typer.main  # noqa: E402 - after the path

from carcls.config import TrainConfig  # noqa: E402
from search.cli.app import app  # noqa: E402
from search.experiment.changes import RESUMABLE, RETRAINABLE  # noqa: E402
from search.experiment.settings import ExperimentSections  # noqa: E402
from search.progress.search_events import Event  # noqa: E402

GENERATED = "<!-- Written by docs/reference.py: change the code, then run `python docs/reference.py`. -->\n\n"

_BOUNDS = (
    (annotated_types.Ge, "ge", "from"),
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Le, "le", "to"),
    (annotated_types.Lt, "lt", "below"),
)
_TYPES: Mapping[object, str] = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}


def pages() -> dict[str, str]:
    """The text of each generated page, by its name in docs/."""
    return {
        "cli.md": GENERATED + _cli_page(),
        "keys.md": GENERATED + _keys_page(),
        "events.schema.json": _events_schema(),
    }


def meanings() -> dict[str, str]:
    """What each key of an experiment file means, by dotted path; '' for a key without a docstring."""
    return {key: meaning for key, _, _, meaning in _rows()}


# --- commands


def _cli_page() -> str:
    root = typer.main.get_command(app)
    sections = [_command_section(name, command) for name, command in _commands("carsearch", root)]
    return (
        "# Which commands are there?\n\n"
        "Relative paths in an experiment file are relative to the current folder. Results go to standard output,"
        " warnings and errors to standard error. An error meant for you is one message and exit code 2. Ctrl-C ends"
        " with exit code 130, SIGTERM with 143.\n\n" + "\n".join(sections)
    )


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for part, inner in command.commands.items():
            yield from _commands(f"{name} {part}", inner)
    else:
        yield name, command


def _command_section(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    rows = "\n".join(_parameter_row(parameter, context) for parameter in command.params)
    table = f"| argument or option | meaning | default |\n|---|---|---|\n{rows}\n" if rows else ""
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    return f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```\n{usage}\n```\n\n{table}"


def _parameter_row(parameter: Any, context: Any) -> str:
    spelled, _ = parameter.get_help_record(context) or (" ".join(parameter.get_usage_pieces(context)), "")
    if parameter.required:
        default = "required"
    else:
        default = "" if parameter.default is None or parameter.default is False else f"`{parameter.default}`"
    return f"| `{_cell(spelled)}` | {_cell(parameter.help or '')} | {default} |"


# --- events


def _events_schema() -> str:
    """JSON Schema of an event; fields that do not apply are absent, so only three are required."""
    schema = TypeAdapter(Event).json_schema()
    said = _docstrings(Event)
    fields = {
        name: {
            "description": " ".join(said[name].split()) if name in said else "Name of the study.",
            **{key: value for key, value in form.items() if key not in ("default", "title")},
        }
        for name, form in schema["properties"].items()
    }
    top = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "carsearch event", "type": "object"}
    return json.dumps({**top, "properties": fields, "required": ["kind", "study", "time"]}, indent=2) + "\n"


# --- keys


def _keys_page() -> str:
    groups: dict[str, list[str]] = {}
    for key, values, default, meaning in _rows():
        top = key.partition(".")[0]
        group = top if top in {"data", "train", "search", "retrain", "tta", "record", "store"} else "Top level"
        groups.setdefault(group, []).append(f"| `{key}` | {values} | {default} | {_cell(meaning)} |")
    tables = "\n\n".join(
        f"## {group}\n\n| key | values | default | meaning |\n|---|---|---|---|\n" + "\n".join(lines)
        for group, lines in groups.items()
    )
    return (
        "# Which keys does an experiment file have?\n\n"
        "Domains, overrides, the baseline and examples: [experiment-file.md](experiment-file.md). Any value under"
        " `train` may be a domain. `required` in the column of defaults: the key has no default.\n\n"
        f"{tables}\n\n"
        "## What an existing study may change\n\n"
        "| command | keys |\n|---|---|\n"
        f"| `resume --set`, `run --or-resume` | {_keys(RESUMABLE)} |\n"
        f"| `retrain --set` | {_keys(RETRAINABLE)} |\n"
    )


def _keys(keys: tuple[str, ...]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


def _rows() -> Iterator[tuple[str, str, str, str]]:
    """(key, values, default, meaning) of every key; a training's keys follow `train`."""
    for row in _fields(ExperimentSections, ()):
        yield row
        if row[0] == "train":
            yield from _fields(TrainConfig, ("train",))


def _fields(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    said = _docstrings(model)
    for name, info in model.model_fields.items():
        inner = _model_in(info.annotation)
        meaning = said.get(name) or (inspect.cleandoc(inner.__doc__ or "") if inner else "")
        yield ".".join((*path, name)), _values(info.annotation, info.metadata), _default(info), meaning
        if inner is not None:
            yield from _fields(inner, (*path, name))


def _docstrings(model: type) -> dict[str, str]:
    """The docstring under each field of a class; pydantic reads them only where it is told to, at each start."""
    [body] = ast.parse(inspect.cleandoc("\n" + inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = inspect.cleandoc(str(after.value.value))
    return found


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _values(annotation: object, metadata: list[object]) -> str:  # noqa: PLR0911 - a table of cases
    """What may stand there: 'number, from 0, below 1', 'adam, sgd', 'section or null'."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(parts[0], [*_constraints(parts[1:]), *metadata])
    if origin is types.UnionType or type(None) in parts:
        some = [_values(part, metadata) for part in parts if part is not type(None)]
        return ", or ".join([*some, "null"] if type(None) in parts else some)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        return "list of sections" if _model_in(parts[0]) else "list"
    if _model_in(annotation):
        return "section"
    if any(getattr(limit, "pattern", None) for limit in metadata):
        return "name: letters, digits, `-`, `_`"
    return ", ".join([_TYPES.get(annotation, "mapping"), *_bounds(metadata)])


def _constraints(metadata: tuple[object, ...]) -> list[object]:
    return [limit for part in metadata for limit in (part.metadata if isinstance(part, FieldInfo) else [part])]


def _bounds(metadata: list[object]) -> Iterator[str]:
    for limit in metadata:
        for kind, name, words in _BOUNDS:
            if isinstance(limit, kind):
                bound = getattr(limit, name)
                yield f"{words} {bound if isinstance(bound, int) else format(bound, 'g')}"


def _default(info: FieldInfo) -> str:
    default = info.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    if default is None or isinstance(default, bool | int | float):
        return f"`{json.dumps(default)}`"
    return "`{}`" if isinstance(default, BaseModel) or default == {} else f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
