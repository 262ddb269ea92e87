"""The lines of a study's journal, each with a checksum over everything before it. Pure.

A line is Optuna's JSON object with an additional last field, `"check"`: the BLAKE2b-64 of all bytes of the file before
that field. Optuna and optuna-dashboard ignore it. Lines without a checksum, from earlier versions or other programs,
are covered by the next checksum.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

import orjson

_FIELD = b',"check":"'
_CHECK_BYTES = 8
_END = b'"}\n'
_SEAL_LENGTH = len(_FIELD) + 2 * _CHECK_BYTES + len(_END)
_KEYS = {"op_code", "worker_id"}
"""Every entry of Optuna names an operation and its author."""

Entry = dict[str, Any]
Hash = hashlib.blake2b


class ChecksumChain:
    """The running checksum of a journal, from its first byte to the end of a line."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_CHECK_BYTES)
        self.lines = 0
        """Number of lines read."""
        self.end = 0
        """Offset of the next line in bytes."""
        self.checked = 0
        """Number of lines covered by a correct checksum."""

    def copy(self) -> Self:
        """An independent copy at the same position."""
        twin = type(self)()
        twin._hash = self._hash.copy()
        twin.lines, twin.end, twin.checked = self.lines, self.end, self.checked
        return twin

    def sealed(self, entry: Mapping[str, Any]) -> bytes:
        """The next line for this entry, with its checksum. The position does not change until `read`."""
        text = json.dumps(entry, separators=(",", ":")).encode()[:-1]
        return text + _FIELD + self._check(text) + _END

    def read(self, line: bytes, *, is_verified: bool = False) -> Entry | None:
        """Read the next line and return its entry without the checksum. For a damaged line, return None and stay at the
        same position.

        is_verified: True if the checksum of a later line was found correct already, see `ends_intact`.
        """
        entry = _parsed(line)
        if entry is None:
            return None
        check = _check_of(line)
        if check is None and "check" in entry:  # not in our format: edited by hand, or damaged
            return None
        if check is not None and not is_verified and check != self._check(line[:-_SEAL_LENGTH]):
            return None
        self._hash.update(line)
        self.lines += 1
        self.end += len(line)
        if check is not None:
            self.checked = self.lines
            del entry["check"]
        return entry

    def read_verified(self, line: bytes) -> Entry | None:
        """Like `read` of a verified line, but without hashing it: call `catch_up` after the last one."""
        entry = _parsed(line)
        if entry is None:
            return None
        self.lines += 1
        self.end += len(line)
        if entry.pop("check", None) is not None:
            self.checked = self.lines
        return entry

    def catch_up(self, read: Hash) -> None:
        """Set the hash of all lines read so far, see `hash_of_intact`."""
        self._hash = read

    def blames(self, line: bytes) -> range:
        """Numbers, from 1, of the lines that may be damaged if `line` could not be read next."""
        is_whole = _parsed(line) is not None and _check_of(line) is not None
        return range(self.checked + 1 if is_whole else self.lines + 1, self.lines + 2)

    def _check(self, text: bytes) -> bytes:
        digest = self._hash.copy()
        digest.update(text)
        return digest.hexdigest().encode()


def is_unfinished(line: bytes) -> bool:
    """True for the beginning of a line, as left by a writer that was killed while appending."""
    if line.endswith(b"\n"):
        return False
    try:
        text = line.decode()
        return json.JSONDecoder().raw_decode(text)[1] == len(text)
    except UnicodeDecodeError:
        return False
    except ValueError:
        return line.startswith(b"{") and b"\0" not in line


def hash_of_intact(content: bytes) -> Hash | None:
    """The hash of a whole journal if its last line has a correct checksum, which covers all bytes before it.

    None if only reading every line can tell.
    """
    begin = content.rfind(b"\n", 0, -1) + 1
    check = _check_of(content[begin:])
    if check is None:
        return None
    found = hash_of(memoryview(content)[:-_SEAL_LENGTH])
    if check != found.hexdigest().encode():
        return None
    found.update(content[-_SEAL_LENGTH:])
    return found


def ends_intact(content: bytes) -> bool:
    """True if the last line has a correct checksum, see `hash_of_intact`."""
    return hash_of_intact(content) is not None


def hash_of(content: bytes | memoryview) -> Hash:
    """The running hash after these bytes."""
    return hashlib.blake2b(content, digest_size=_CHECK_BYTES)


def _check_of(line: bytes) -> bytes | None:
    """The checksum of a line, or None."""
    seal = line[-_SEAL_LENGTH:]
    if not (seal.startswith(_FIELD) and seal.endswith(_END)):
        return None
    return seal[len(_FIELD) : -len(_END)]


def _parsed(line: bytes) -> Entry | None:
    """The entry in a line of ours or Optuna's, or None if it is invalid or incomplete."""
    try:
        entry = _loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):  # not JSON, or not even text
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= _KEYS else None


def _loads(line: bytes) -> object:
    """orjson is four times as fast, but rejects the NaN of a diverged epoch, integers beyond 64 bits and lone
    surrogates."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)
