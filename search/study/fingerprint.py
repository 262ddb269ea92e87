"""Fingerprints of files. They take few bytes, and still identify a damaged line. Pure."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Self

_LINE_BYTES = 2
"""Length of each line's digest. One damaged line in 65,536 is detected but not identified."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of a file's content."""

    whole: str
    """BLAKE2b-128 of all bytes, in hex."""
    lines: str
    """BLAKE2b-16 of each line, concatenated, in base64."""

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The fingerprint of a file with this content."""
        lines = b"".join(_digest(line) for line in _split(content))
        return cls(digest_of(content), base64.b64encode(lines).decode())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Inverse of `to_text`."""
        return cls(**json.loads(text))

    def to_text(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    def damage(self, content: bytes) -> str | None:
        """Where `content` differs, such as 'line 7', or None."""
        if digest_of(content) == self.whole:
            return None
        kept, found = base64.b64decode(self.lines), _split(content)
        digests = [kept[at : at + _LINE_BYTES] for at in range(0, len(kept), _LINE_BYTES)]
        for number, (digest, line) in enumerate(zip_longest(digests, found), start=1):
            if digest is None:
                return f"line {number}, which was added"
            if line is None:
                return f"line {number}, which is missing"
            if digest != _digest(line):
                return f"line {number}"
        return f"one of {len(found)} lines"


def digest_of(content: bytes) -> str:
    """BLAKE2b-128 in hex."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _split(content: bytes) -> list[bytes]:
    """Lines as an editor counts them, without their newlines. The text after the last newline counts as a line even if
    it is empty, so that a missing newline is detected."""
    return content.split(b"\n")


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=_LINE_BYTES).digest()
