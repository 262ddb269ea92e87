"""Names that users give: put in order by the numbers in them, compared without regard to spelling of the same text."""

import re
import unicodedata

NaturalKey = tuple[list[tuple[int, str]], str]

PHOTO_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "tif", "tiff"),
        *("heic", "heif", "avif", "jp2", "jxl", "mpo"),
    )
)
"""Lower-case endings under which photos are kept; which of the formats can be read is told by the content."""

_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
_SHAPELESS = "\u034f\u115f\u1160\u3164\uffa0\ufe0e\ufe0f"
"""Without a shape of their own, though Unicode does not count them as such: joiners, fillers and selectors."""
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_LATIN = str.maketrans("авекмнорстухіѕјαβεικνορτυχ", "abekmhopctyxisjabeikvoptyx")
"""Lower-case letters: those of capitals that look alike (В and B) are among them."""

_NUMBER = re.compile(r"([0-9]+)")
_JUNK = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"))


def natural_key(name: str) -> NaturalKey:
    """Sort key under which `9.jpg` comes before `10.jpg`; no two names are equal under it."""
    parts = _NUMBER.split(name)  # text and digits by turns, text first
    # Digits are compared as text of known length: int() refuses numbers of thousands of digits.
    digits = [(len(part.lstrip("0")), part.lstrip("0")) if turn % 2 else (0, part) for turn, part in enumerate(parts)]
    return digits, name


def path_key(path: str) -> list[NaturalKey]:
    """`natural_key` of each part of a posix path: a folder's photos stay together."""
    return [natural_key(part) for part in path.split("/")]


def class_order(name: str) -> tuple[bool, NaturalKey]:
    """Sort key of classes: numbers by value ('10' after '9'), then all other names, numbers in them by value too."""
    return not (name.isascii() and name.isdigit()), natural_key(name)


def same_text(name: str) -> str:
    """One spelling for all that read alike: Unicode's composed form (NFC), without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def is_class_name(name: str) -> bool:
    """True for a text of one line, as `same_text` gives it: no control character, no end of a line or paragraph, and no
    half of a character, whose name could be neither written nor shown. Folders and tables obey the same rule."""
    return bool(name) and not any(unicodedata.category(sign) in _NO_TEXT for sign in name)


def look(name: str, *, one_alphabet: bool = True) -> str:
    """The same for names that a reader takes for one: in any case, with any spaces, without what has no shape.

    one_alphabet: letters that Cyrillic and Greek share with Latin by their shape count as these.
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf" and sign not in _SHAPELESS)
    text = text.translate(_DASHES)
    return " ".join((text.translate(_LATIN) if one_alphabet else text).split())


def is_junk(name: str) -> bool:
    """True for what systems leave in folders: dot-files, Thumbs.db and their kin."""
    return name.startswith(".") or name.lower() in _JUNK


def may_be_photo(name: str) -> bool:
    """True for a name with the ending of a photo, or without any."""
    stem, dot, suffix = name.rpartition(".")
    return not dot or not stem or f".{suffix.lower()}" in PHOTO_SUFFIXES
