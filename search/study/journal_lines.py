"""The lines of a study's journal, each with a checksum over everything up to it. Pure.

A line is Optuna's JSON object with one more field, its last: `"check"`, the BLAKE2b-64 of all bytes of the file before
that field. Optuna and optuna-dashboard ignore it. A line without one, of an earlier version or of another program, is
covered by the checksum of the next line that has one.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

_FIELD = b',"check":"'
_CHECK_BYTES = 8
_END = b'"}\n'
_SEAL_LENGTH = len(_FIELD) + 2 * _CHECK_BYTES + len(_END)
_KEYS = {"op_code", "worker_id"}
"""Every entry of Optuna's names an operation and its author."""

Entry = dict[str, Any]


class Chain:
    """A journal from its first byte to the end of one of its lines."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_CHECK_BYTES)
        self.lines = 0
        """How many lines were read."""
        self.end = 0
        """Where the next line begins, in bytes."""
        self.checked = 0
        """How many of the lines are covered by a checksum that was right."""

    def copy(self) -> Self:
        """The same point, to go on from separately."""
        twin = type(self)()
        twin._hash = self._hash.copy()
        twin.lines, twin.end, twin.checked = self.lines, self.end, self.checked
        return twin

    def sealed(self, entry: Mapping[str, Any]) -> bytes:
        """The next line, for this entry; the chain stays where it is until it reads that line."""
        text = json.dumps(entry, separators=(",", ":")).encode()[:-1]
        return text + _FIELD + self._check(text) + _END

    def read(self, line: bytes) -> Entry | None:
        """The entry of the next line, without its checksum; None, and nothing is read, where the line is damaged."""
        entry = _parsed(line)
        if entry is None:
            return None
        check = _check_of(line)
        if check is None and "check" in entry:  # not as we write it: somebody's hand, or the disk's
            return None
        if check is not None and check != self._check(line[:-_SEAL_LENGTH]):
            return None
        self._hash.update(line)
        self.lines += 1
        self.end += len(line)
        if check is not None:
            self.checked = self.lines
            del entry["check"]
        return entry

    def blames(self, line: bytes) -> range:
        """Numbers, from 1, of the lines in which the damage may be, where `line` could not be read next."""
        is_whole = _parsed(line) is not None and _check_of(line) is not None
        return range(self.checked + 1 if is_whole else self.lines + 1, self.lines + 2)

    def _check(self, text: bytes) -> bytes:
        digest = self._hash.copy()
        digest.update(text)
        return digest.hexdigest().encode()


def is_unfinished(line: bytes) -> bool:
    """True for what a writer leaves that is killed while it appends: the beginning of a line and nothing else."""
    if line.endswith(b"\n"):
        return False
    try:
        text = line.decode()
        return json.JSONDecoder().raw_decode(text)[1] == len(text)
    except UnicodeDecodeError:
        return False
    except ValueError:
        return line.startswith(b"{") and b"\0" not in line


def _check_of(line: bytes) -> bytes | None:
    """The checksum that a line carries, or None."""
    seal = line[-_SEAL_LENGTH:]
    if not (seal.startswith(_FIELD) and seal.endswith(_END)):
        return None
    return seal[len(_FIELD) : -len(_END)]


def _parsed(line: bytes) -> Entry | None:
    """What Optuna, or we, wrote in one line; None where it is none, or not to its end."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):  # not JSON, or no text at all
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= _KEYS else None
