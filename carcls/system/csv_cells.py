"""Cells of the CSV files that we write, safe for terminals and spreadsheets.

A spreadsheet runs a cell that begins with certain characters as a formula, and `cat` passes control characters in file
names to the terminal. A leading apostrophe marks a cell as text; spreadsheets do not display it.
"""

import re
import unicodedata

_FORMULA = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
"""Characters that may begin a formula, including full-width forms, which some spreadsheets accept."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_CONTROL_CATEGORIES = ("Cc", "Zl", "Zp")
"""Unicode categories of characters that end a line or control a terminal."""
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional overrides: they display text in another order than it is written."""
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(\\))")


def readable_cell(text: str) -> str:
    """The text for human readers: control characters escaped, formulas disarmed. Not reversible."""
    plain = text.isascii() and text.isprintable()  # spares almost all cells of a large table a look at each character
    shown = text if plain else "".join(_escaped(sign) if _is_control(sign) else sign for sign in text)
    return f"'{shown}" if _is_formula(shown) else shown


def escape_cell(text: str) -> str:
    """The same, but reversible by `unescape_cell`: backslashes are doubled."""
    doubled = text.replace("\\", "\\\\")
    shown = "".join(_escaped(sign) if _is_control(sign) else sign for sign in doubled)
    return f"'{shown}" if _is_formula(shown) or _is_formula(shown.lstrip("'")) else shown


def unescape_cell(cell: str) -> str:
    """Inverse of `escape_cell`. Cells that need no escaping, as all cells of older files, are returned unchanged."""
    if cell.startswith("'") and _is_formula(cell.lstrip("'")):
        cell = cell[1:]
    return _ESCAPED.sub(_sign, cell)


def _is_formula(text: str) -> bool:
    # Spreadsheets ignore spaces before a formula.
    start = text.lstrip(" ")
    return start[:1] != "" and start[0] in _FORMULA and _NUMBER.fullmatch(start) is None


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) in _CONTROL_CATEGORIES or sign in _OVERRIDES


def _escaped(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if ord(sign) < 0x100 else f"\\u{ord(sign):04x}"


def _sign(found: re.Match[str]) -> str:
    number = found[1] or found[2]
    return chr(int(number, 16)) if number else "\\"
