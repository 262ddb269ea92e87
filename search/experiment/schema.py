"""Validates a plain tree strictly against a pydantic model, with error messages for users."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from carcls.catalog import nearest_name
from search.experiment.file.domain_syntax import DOMAIN_KEYS
from search.experiment.file.renamed import RENAMED
from search.experiment.file.yaml_source import KeyPath, Plain, describe

Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "path_type": "a path",
    "too_short": "at least one item",
    "string_too_short": "some text",
    "string_pattern_mismatch": "a name of letters, digits, - and _",  # the only patterns are those of names
}
"""The expected value by pydantic's error type; other types name it in their message."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation of a model."""

    path: KeyPath
    """From the top of the checked tree."""
    message: str
    is_missing: bool = False


def check(model: type[Model], tree: Plain) -> Model | tuple[Violation, ...]:
    """The model of a tree, or all its violations.

    Strict: text is not converted to a number, nor a number to true or false; a whole number is a valid number.
    """
    try:
        # JSON mode is strict, but accepts a list for a tuple and text for a path.
        return model.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        wrong = (
            _translate(model, details) for details in error.errors(include_url=False) if not _is_echo(details, error)
        )
        return tuple(wrong)


def all_fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every field of a model and its nested models, with the field's path without list positions."""
    for name, info in model.model_fields.items():
        yield (*path, name), info
        inner = _model_in(info.annotation)
        if inner is not None:
            yield from all_fields(inner, (*path, name))


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for key in path:
        if isinstance(key, int):
            continue
        if current is None or key not in current.model_fields:
            return None
        current = _model_in(current.model_fields[key].annotation)
    return current


def _translate(model: type[BaseModel], details: ErrorDetails) -> Violation:
    path = tuple(details["loc"])
    match details["type"]:
        case "missing":
            return Violation(path, "is missing", is_missing=True)
        case "extra_forbidden":
            return Violation(path, _unknown_key(model, path))
        case "value_error":
            return _refused(model, path, str(details.get("ctx", {}).get("error", details["msg"])))
        case "literal_error":
            return Violation(path, _expected(details) + _near_literal(details))
        case _:
            return Violation(path, _expected(details) + _domain_hint(details["input"]))


def _is_echo(details: ErrorDetails, error: ValidationError) -> bool:
    """True for a list that pydantic calls too short only because it rejected the items."""
    inside = [other["loc"] for other in error.errors(include_url=False)]
    path = details["loc"]
    return details["type"] == "too_short" and any(len(loc) > len(path) and loc[: len(path)] == path for loc in inside)


def _expected(details: ErrorDetails) -> str:
    expected = _EXPECTED.get(details["type"])
    if expected is None:
        expected = details["msg"].removeprefix("Input should be ")
        expected = expected[:1].lower() + expected[1:]
    return f"expected {expected}, found {describe(details['input'])}"


def _refused(model: type[BaseModel], path: KeyPath, message: str) -> Violation:
    """A validator's own message. A message of a whole model begins with the key it is about, which may be dotted, with
    a number for a list's item."""
    dotted, colon, rest = message.partition(": ")
    keys = tuple(int(key) if key.isdecimal() else key for key in dotted.split("."))
    owner = _model_at(model, (*path, *keys[:-1]))
    if colon and owner is not None and keys[-1] in owner.model_fields:
        return Violation((*path, *keys), rest)
    return Violation(path, message)


def _unknown_key(model: type[BaseModel], path: KeyPath) -> str:
    if path in RENAMED:
        return f"was renamed: write `{'.'.join((*map(str, path[:-1]), RENAMED[path]))}`"
    owner = _model_at(model, path[:-1])
    names = tuple(owner.model_fields) if owner else ()
    wrong = str(path[-1])
    near = nearest_name(wrong, names)
    if near:
        return f"unknown key; did you mean {near!r}?"
    elsewhere = [".".join(key) for key, _ in all_fields(model) if key[-1] == wrong]
    if elsewhere:
        return f"unknown key here; did you mean `{'` or `'.join(elsewhere)}`?"
    return f"unknown key; expected one of {', '.join(names)}"


def _near_literal(details: ErrorDetails) -> str:
    allowed = re.findall(r"'([^']*)'", str(details.get("ctx", {}).get("expected", "")))
    found: Any = details["input"]
    near = nearest_name(found, allowed) if isinstance(found, str) else None
    return f"; did you mean {near!r}?" if near else _domain_hint(found)


def _domain_hint(found: object) -> str:
    """A hint for a mapping in place of a value, which was probably meant as a domain."""
    if not isinstance(found, dict) or not found:
        return ""
    if any(key in DOMAIN_KEYS for key in found):
        return "; only values under `train` can be searched"
    near = nearest_name(str(next(iter(found))), DOMAIN_KEYS)
    return f"; did you mean `{near}`?" if near else ""
