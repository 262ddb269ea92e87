"""Names that users choose: natural sort order, Unicode normalisation, confusable names, and photo suffixes."""

import re
import unicodedata
from collections.abc import Sequence

NaturalKey = tuple[list[tuple[int, str]], str]

PHOTO_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "tif", "tiff"),
        *("heic", "heif", "avif", "jp2", "jxl", "mpo"),
    )
)
"""Lower-case suffixes of photos. Whether a format is supported is decided by the content."""

_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
_SHAPELESS = "\u034f\u115f\u1160\u3164\uffa0\ufe0e\ufe0f"
"""Invisible characters outside Unicode's format category: joiners, fillers and variation selectors."""
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_LATIN = str.maketrans("авекмнорстухіѕјαβεικνορτυχ", "abekmhopctyxisjabeikvoptyx")
"""Lower-case letters, including those whose capitals look alike (В and B)."""

_NUMBER = re.compile(r"([0-9]+)")
_JUNK = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"))


def natural_key(name: str) -> NaturalKey:
    """Sort key that puts `9.jpg` before `10.jpg`. Different names have different keys."""
    parts = _NUMBER.split(name)  # text and digits alternate, text first
    # Digits are compared by length, then as text: int() rejects numbers of thousands of digits.
    digits = [(len(part.lstrip("0")), part.lstrip("0")) if turn % 2 else (0, part) for turn, part in enumerate(parts)]
    return digits, name


def path_key(path: str) -> list[NaturalKey]:
    """`natural_key` of each component of a POSIX path, so that a folder's photos stay together."""
    return [natural_key(part) for part in path.split("/")]


def class_order(name: str) -> tuple[bool, NaturalKey]:
    """Sort key of classes: numbers by value ('10' after '9'), then all other names in natural order."""
    return not (name.isascii() and name.isdigit()), natural_key(name)


def normalized_name(name: str) -> str:
    """The name in Unicode's composed form (NFC), without surrounding spaces."""
    return unicodedata.normalize("NFC", name).strip()


def normalized_path(path: str) -> str:
    """A POSIX path with `normalized_name` of each of its parts."""
    return "/".join(normalized_name(part) for part in path.split("/"))


def letters_only(name: str) -> str:
    """Lower-case letters and digits: `Image ID`, `image_id` and `imageId` are one name."""
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def first_names(names: Sequence[str], count: int) -> str:
    """`a, b and 3 more`: the first `count` names and the number of the others."""
    shown = ", ".join(names[:count])
    return f"{shown} and {len(names) - count} more" if len(names) > count else shown


def is_class_name(name: str) -> bool:
    """True for a normalised one-line text without control characters or lone surrogates.

    Folders and CSV files follow the same rule.
    """
    return bool(name) and is_one_line(name)


def is_one_line(text: str) -> bool:
    """True for text without control characters, line and paragraph ends, and lone surrogates."""
    return not any(unicodedata.category(sign) in _NO_TEXT for sign in text)


def confusable_key(name: str, *, merge_alphabets: bool = True) -> str:
    """Equal for names that a reader cannot tell apart: ignores case, spacing and invisible characters.

    merge_alphabets: also maps Cyrillic and Greek letters to Latin letters of the same shape.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf" and sign not in _SHAPELESS)
    text = text.translate(_DASHES)
    return " ".join((text.translate(_LATIN) if merge_alphabets else text).split())


def is_junk(name: str) -> bool:
    """True for hidden and system files, such as dot-files and Thumbs.db."""
    return name.startswith(".") or name.lower() in _JUNK


def may_be_photo(name: str) -> bool:
    """True for a name with a photo suffix or without any suffix."""
    stem, dot, suffix = name.rpartition(".")
    return not dot or not stem or f".{suffix.lower()}" in PHOTO_SUFFIXES
