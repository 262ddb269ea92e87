"""Seeded damage: bytes as disks, transfers and people with bad intentions leave them. Pure, but for the generator."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

PIECES = (
    *(b"", b"\0", b"\xff" * 4, b"\0" * 64, b"\r\n", b'"', b",", b"../", b"\x1b]0;x\x07", b"=1+1", b"PK\x03\x04"),
    *(b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd0", b"- ", b": ", b"*a", b"&a ", b"{", b"[", b"1e999", b"\xe2\x80\xae"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 3, 2**31, 2**64, 10**400, -1e308, float("nan"), float("inf"), "", "x", "\x1b[31m", [], {}),
    *("x" * 10_000, [None] * 3, {"class_name": "Lambda", "config": {}}, [[[[[]]]]]),
    {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/"}, "registered_name": None},
    {"class_name": "__typespec__", "config": []},
)


def mutated(rng: Random, whole: bytes, *, most: int = 4) -> bytes:
    """One to `most` places overwritten, flipped, cut out, doubled or cut off."""
    content = bytearray(whole)
    for _ in range(rng.randint(1, most)):
        if not content:
            break
        start = _place(rng, len(content))
        end = min(len(content), start + rng.randint(0, 16))
        match rng.choice(("put", "flip", "flip", "number", "cut", "double", "end")):
            case "put":
                content[start:end] = rng.choice(PIECES) or rng.randbytes(rng.randint(0, 8))
            case "flip":
                content[start] ^= 1 << rng.randint(0, 7)
            case "number":
                content[start : start + 4] = rng.choice((0, 1, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "little")
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end] * rng.randint(1, 3)
            case "end" if rng.random() < 0.3:
                del content[start:]
    return bytes(content)


def flipped(rng: Random, whole: bytes) -> bytes:
    """One bit turned over."""
    content = bytearray(whole)
    content[rng.randrange(len(content))] ^= 1 << rng.randint(0, 7)
    return bytes(content)


def _place(rng: Random, length: int) -> int:
    """Headers are short and stand at both ends: half of all places are drawn there."""
    near = rng.randint(0, min(length - 1, 64))
    return rng.choice((near, length - 1 - near, rng.randrange(length), rng.randrange(length)))


def changed_tree(rng: Random, tree: Any, values: Sequence[Any] = VALUES) -> Any:  # noqa: ANN401 - whatever JSON holds
    """A copy with one to three values replaced by hostile ones or by others of the tree, removed or doubled."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        parent, key = rng.choice(places)
        other_parent, other_key = rng.choice(places)
        match rng.choice(("value", "value", "other", "remove", "double")):
            case "value":
                parent[key] = rng.choice(values)
            case "other":
                parent[key] = json.loads(json.dumps(other_parent[other_key]))
            case "remove":
                del parent[key]
            case "double" if isinstance(parent, list):
                parent.insert(key, parent[key])
        if not tree:
            break
    return tree


def _places(tree: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    held = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(held):
        yield tree, key
        yield from _places(value)
