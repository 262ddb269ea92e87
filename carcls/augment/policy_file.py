"""Custom augmentation policies: reads an albumentations file and checks its transforms before any training.

The file is what `A.save(transform, path, data_format="yaml")` of albumentations writes, or the same as JSON. Nothing in
it is executed, and only albumentations' own classes are instantiated. Each transform is tried on noise, since a view
must keep the dtype and size of its photo and must be reproducible.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses

from carcls.augment.transform_probe import PIXELS, probe, probe_on_rectangle, why
from carcls.catalog import nearest_name
from carcls.errors import ConfigError, DocumentError
from carcls.system.documents import MAX_BYTES, parse_json, parse_yaml
from carcls.system.zip_files import regular_size

_MAX_DEPTH = 8

_REFUSED = {
    "Lambda": "a file cannot hold a function: remove it, or use a transform of albumentations",
    "ReplayCompose": "views are drawn again, never replayed: use Compose",
    "Normalize": PIXELS,
    "ToFloat": PIXELS,
    "FromFloat": PIXELS,
    "ToTensorV2": PIXELS,
    "ToTensor3D": PIXELS,
}
_TARGETS = ("bbox_params", "keypoint_params", "additional_targets")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One transform of the file, or a composition of transforms."""

    where: str
    """File, position and class: the start of messages."""
    kind: type
    args: Mapping[str, Any]
    children: tuple["_Entry", ...]

    def build(self, **changed: Any) -> Any:  # noqa: ANN401  # albumentations ships no types
        """A new transform, with arguments overridden by `changed`. Raises ConfigError."""
        args = {**self.args, **changed}
        if issubclass(self.kind, A.BaseCompose):
            args["transforms"] = [child.build() for child in self.children]
        else:
            args = _own_args(self.kind, args)
        try:
            return self.kind(**args)
        except Exception as error:  # any error of a constructor is caused by the file
            raise ConfigError(f"{self.where}: {why(error)}; see albumentations {A.__version__} for it") from error

    def leaves(self) -> Iterator["_Entry"]:
        """All transforms that are not compositions, in file order."""
        if not issubclass(self.kind, A.BaseCompose):
            yield self
        for child in self.children:
            yield from child.leaves()


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A checked policy from a file."""

    digest: str
    """blake2b-128 hex of the file's bytes."""
    top: _Entry

    def compose(self, *, record_applied: bool = False) -> A.Compose:
        """A new composition for one thread. record_applied: whether results list the transforms that were applied."""
        if self.top.kind is not A.Compose:
            return A.Compose([self.top.build()], save_applied_params=record_applied)
        return self.top.build(save_applied_params=record_applied, seed=None)

    def check_rectangles(self) -> None:
        """Raises ConfigError if a transform changes the shape of a photo that is no square."""
        for leaf in self.top.leaves():
            probe_on_rectangle(leaf.build(p=1.0), leaf.where)


@cache
def read_policy_file(path: str) -> PolicyFile:
    """The policy in a .yaml, .yml or .json file, read once per process so that it cannot change during a training run.

    Raises ConfigError naming the file, the transform's position (from 1; `2.1` is the first inside the second), its
    class, and what to do.
    """
    content = _content(path)
    tree = _parse(path, content)
    version = tree.get("__version__", A.__version__)
    name = path if version == A.__version__ else f"{path} (of albumentations {version}, read by {A.__version__})"
    policy = PolicyFile(hashlib.blake2b(content, digest_size=16).hexdigest(), _entry(tree["transform"], name, ()))
    for leaf in policy.top.leaves():
        probe(leaf.build(p=1.0), leaf.where)
    probe(policy.compose(), f"{name}: the policy as a whole")
    return policy


def _content(path: str) -> bytes:
    try:
        byte_count = regular_size(Path(path))
        if byte_count > MAX_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_BYTES:,} bytes; is it an augmentation policy?")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a pipe, or an invalid file name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot read this augmentation policy: {reason}") from error


def _parse(path: str, content: bytes) -> dict[str, Any]:
    """The file's top-level mapping, which contains `transform`."""
    kind = Path(path).suffix[1:]
    try:
        text = content.decode("utf-8")
        tree = parse_json(text, path) if kind == "json" else parse_yaml(text, path)[0]
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not {kind}: not UTF-8 text at byte {error.start}") from error
    except DocumentError as error:
        place = f"line {error.where.rpartition(':')[2]}: {error.key}"
        raise ConfigError(f"{path}: not {kind}: {place}: {' '.join(error.message.split())}") from error
    if not isinstance(tree, dict) or "transform" not in tree:
        raise ConfigError(
            f"{path}: holds no augmentation policy: expected what albumentations' A.save(transform, path,"
            " data_format=...) writes, a mapping with `transform`"
        )
    return tree


def _entry(tree: object, file: str, place: tuple[int, ...]) -> _Entry:
    where = f"{file}: transform {'.'.join(map(str, place))}" if place else f"{file}: `transform`"
    if not isinstance(tree, dict) or not isinstance(tree.get("__class_fullname__"), str):
        raise ConfigError(f"{where}: expected a mapping with `__class_fullname__`, such as HorizontalFlip")
    if len(place) > _MAX_DEPTH:
        raise ConfigError(f"{where}: is nested more than {_MAX_DEPTH} compositions deep: flatten it")
    args = {str(key): value for key, value in tree.items() if key != "__class_fullname__"}
    where = f"{where} ({tree['__class_fullname__']})"
    kind = _class(tree["__class_fullname__"], where)
    _check_probability(kind, args, where)
    children: tuple[_Entry, ...] = ()
    if issubclass(kind, A.BaseCompose):
        inner = args.pop("transforms", None)
        if not isinstance(inner, list) or not inner:
            raise ConfigError(f"{where}: expected a list of `transforms`; for no augmentation, name the policy `none`")
        children = tuple(_entry(child, file, (*place, number)) for number, child in enumerate(inner, start=1))
    return _Entry(where, kind, args, children)


def _class(full_name: str, where: str) -> type:
    package, _, name = full_name.rpartition(".")
    if name in _REFUSED:
        raise ConfigError(f"{where}: {_REFUSED[name]}")
    kind = getattr(A, name, None)
    if package.partition(".")[0] not in {"", "albumentations"}:
        raise ConfigError(f"{where}: is not a class of albumentations: only those can be read from a file")
    if not isinstance(kind, type) or not issubclass(kind, (A.BasicTransform, A.BaseCompose)):
        near = nearest_name(name, [name for name, value in vars(A).items() if isinstance(value, type)])
        hint = f": did you mean {near}?" if near else ""
        raise ConfigError(f"{where}: albumentations {A.__version__} has no such transform{hint}")
    return kind


def _check_probability(kind: type, args: Mapping[str, Any], where: str) -> None:
    p = args.get("p", 1.0 if kind is A.Compose else None)
    if not isinstance(p, int | float) or isinstance(p, bool) or not 0 <= p <= 1:
        raise ConfigError(f"{where}: p is {p!r}: expected a probability, 0..1")
    for target in _TARGETS:
        if args.get(target):
            raise ConfigError(f"{where}: {target}: only photos are augmented, no boxes, points or masks: remove it")


def _own_args(kind: type, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a transform's constructor, chosen so that it rejects unknown ones.

    `A.save` also writes arguments that only base classes accept; `A.load` drops them with a warning.
    """
    owners = [base for base in kind.__mro__ if base is not object and "__init__" in vars(base)]
    own, *inherited = [set(signature(vars(base)["__init__"]).parameters) for base in owners]
    kept = {name: value for name, value in args.items() if name in own or name not in set().union(*inherited)}
    # With an InitSchema, albumentations only warns of unknown arguments unless `strict` is set; without one, Python
    # rejects them.
    return {**kept, "strict": True} if "InitSchema" in vars(owners[0]) else kept
