"""Decodes file names of archives that do not declare an encoding. Chooses one encoding for all names. Pure.

Zip and old tar files store names as bytes. A single name may decode in many ways; all names together mostly fit one.
"""

import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial

from carcls.errors import DataError

_UNKNOWN = "cp437"
"""The zip format's default, which decodes any bytes."""
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
"""Extra field with the name in UTF-8 and the checksum of the name that it replaces (APPNOTE 4.6.9)."""
_ENOUGH_LETTERS = 3
_PLAUSIBLE = 0.75
"""Smallest share of plausible letters for an encoding to be chosen."""
_SHOWN = 80

_WORD = re.compile(r"[^\W\d_]+|[^\x00-\x7f]")
"""A run of letters, or any other non-ASCII character."""
_COMMON = frozenset("оеаинтсрвлкмд")
"""Three quarters of the letters in Russian text. In a wrong code page they decode to rarer letters."""


def entry_name(info: zipfile.ZipInfo | tarfile.TarInfo) -> tuple[str, bytes | None]:
    """An entry's name, and its bytes if the archive does not declare their encoding, else None."""
    if isinstance(info, tarfile.TarInfo):
        raw = info.name.encode("utf-8", "surrogateescape")
        return info.name, None if info.name.isascii() or "path" in info.pax_headers else raw
    name = info.orig_filename  # `filename` ends at the first NUL
    if info.flag_bits & _UTF8_FLAG or name.isascii():
        return name, None
    raw = name.encode("cp437")
    noted = _unicode_name(info.extra, raw)
    return (noted, None) if noted else (name, raw)


def decode_names(raws: Sequence[bytes], encoding: str | None) -> tuple[list[str], str]:
    """Names decoded with one encoding, and a note about it for the user, which may be empty.

    encoding: the user's choice, or None for the most plausible one. Raises DataError if a name does not decode with the
    user's choice.
    """
    if encoding is not None:
        return [_decoded(raw, encoding) for raw in raws], ""
    if not raws or all(_fits(raw, "utf-8") for raw in raws):
        return [raw.decode("utf-8") for raw in raws], ""
    scores = {coding: _plausibility(raws, coding, letters) for coding, letters in _ENCODINGS.items()}
    best = max(scores, key=lambda coding: scores[coding])
    if scores[best] < _PLAUSIBLE:
        names = [raw.decode(_UNKNOWN) for raw in raws]
        return names, (
            f"the encoding of its file names is unknown; they are read as {_UNKNOWN}, such as {names[0][:_SHOWN]!r};"
            " set another one with --encoding"
        )
    names = [raw.decode(best) for raw in raws]
    return names, f"file names are read as {best}, such as {names[0][:_SHOWN]!r}; set another encoding with --encoding"


def _unicode_name(extra: bytes, raw: bytes) -> str:
    """The name in the Unicode path extra field; empty if there is none or it belongs to another name."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        body = extra[position + 4 : position + 4 + length]
        if kind == _UNICODE_PATH and length > 5 and body[0] == 1 and body[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return body[5:].decode("utf-8", "replace")
        position += 4 + length
    return ""


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"the name {raw[:_SHOWN]!r} is not valid {encoding}; set another encoding with --encoding"
        ) from error


def _fits(raw: bytes, coding: str) -> bool:
    try:
        raw.decode(coding)
    except UnicodeDecodeError:
        return False
    return True


def _plausibility(raws: Sequence[bytes], coding: str, letters: Callable[[str], float]) -> float:
    """Share of plausible letters in words with non-ASCII characters, plus a small bonus for common ones; 0 to 1.05.

    -1 if the bytes do not decode, or if there are too few of them to tell.
    """
    if not all(_fits(raw, coding) for raw in raws):
        return -1.0
    words = [word for raw in raws for word in _WORD.findall(raw.decode(coding)) if not word.isascii()]
    count = sum(map(len, words))
    if sum(len(word.encode(coding)) for word in words) < _ENOUGH_LETTERS:
        return -1.0
    common = sum(sign in _COMMON for word in words for sign in word.casefold())
    return sum(map(letters, words)) / count + 0.05 * common / count


def _cyrillic(word: str) -> float:
    """Plausible letters: all, if the word is entirely Cyrillic and in one case apart from the first letter."""
    whole = all("\u0400" <= sign <= "\u045f" for sign in word)
    return len(word) if whole and (word[1:].islower() or word.isupper() or len(word) == 1) else 0


def _latin(word: str) -> float:
    """Plausible letters: all, if the word is mostly ASCII with a few Western European letters."""
    others = sum(not sign.isascii() for sign in word)
    whole = all(sign.isascii() or "\u00c0" <= sign <= "\u017f" for sign in word)
    return len(word) if whole and 2 * others <= len(word) and (word[1:].islower() or word.isupper()) else 0


def _east_asian(word: str, coding: str, frequent: range) -> float:
    """Plausible letters: kana, and characters of the half of the character set that holds the frequent ones."""
    kana = sum("\u3041" <= sign <= "\u30ff" for sign in word)
    return kana + sum(len(code) == 2 and code[0] in frequent for code in _codes(word, coding))


def _codes(word: str, coding: str) -> list[bytes]:
    return [sign.encode(coding) for sign in word if not "\u3041" <= sign <= "\u30ff"]


_ENCODINGS: dict[str, Callable[[str], float]] = {
    "cp866": _cyrillic,
    "cp1251": _cyrillic,
    "gbk": partial(_east_asian, coding="gbk", frequent=range(0xB0, 0xD8)),
    "cp932": partial(_east_asian, coding="cp932", frequent=range(0x88, 0x98)),
    "cp1252": _latin,
    "cp437": _latin,
}
"""Encoding -> number of plausible letters of a word. The first of equally good encodings wins."""
