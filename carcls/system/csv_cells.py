"""Cells of the tables that we write: no terminal obeys them, and no spreadsheet runs them.

A spreadsheet takes a cell that begins with one of a few signs for a formula, and runs it; `cat` hands a terminal
whatever a file was called. An apostrophe before such a cell makes it text, and is not shown there.
"""

import re
import unicodedata

_FORMULA = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
"""What may begin a formula, wide forms included, which some spreadsheets take for the same."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_OBEYED = ("Cc", "Zl", "Zp")
"""Categories of signs that end a line or command a terminal."""
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make text read in another order than it is written."""
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(\\))")


def harmless(text: str) -> str:
    """The text for a reader: signs that something obeys as their numbers, no formula. Not meant to be read back."""
    shown = "".join(_escaped(sign) if _is_obeyed(sign) else sign for sign in text)
    return f"'{shown}" if _is_formula(shown) else shown


def guarded(text: str) -> str:
    """The same so that `unguarded` gives the text back: backslashes are doubled."""
    doubled = text.replace("\\", "\\\\")
    shown = "".join(_escaped(sign) if _is_obeyed(sign) else sign for sign in doubled)
    return f"'{shown}" if _is_formula(shown) or _is_formula(shown.lstrip("'")) else shown


def unguarded(cell: str) -> str:
    """What `guarded` was given; cells that need no guard, as all of older files, are as they are."""
    if cell.startswith("'") and _is_formula(cell.lstrip("'")):
        cell = cell[1:]
    return _ESCAPED.sub(_sign, cell)


def _is_formula(text: str) -> bool:
    # Spreadsheets pass over spaces before a formula's sign.
    start = text.lstrip(" ")
    return start[:1] != "" and start[0] in _FORMULA and _NUMBER.fullmatch(start) is None


def _is_obeyed(sign: str) -> bool:
    return unicodedata.category(sign) in _OBEYED or sign in _OVERRIDES


def _escaped(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if ord(sign) < 0x100 else f"\\u{ord(sign):04x}"


def _sign(found: re.Match[str]) -> str:
    number = found[1] or found[2]
    return chr(int(number, 16)) if number else "\\"
