"""Formats values for people: numbers, durations, sizes, parameters, and users' text on one line. Pure."""

from collections.abc import Mapping

_LONGEST_TEXT = 160
"""Characters of a cause or a parameter list on one line."""


def params_text(params: Mapping[str, object]) -> str:
    """`backbone=Xception batch_size=32`: names without the prefix `train.`, numbers with four digits, on one line."""
    return one_line(" ".join(f"{name.removeprefix('train.')}={value_text(value)}" for name, value in params.items()))


def value_text(value: object) -> str:
    """A parameter's value; floats with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def one_line(text: str) -> str:
    """Text on one printable line of limited length, with newlines and control characters replaced by spaces."""
    printable = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    return printable if len(printable) <= _LONGEST_TEXT else printable[: _LONGEST_TEXT - 1] + "…"


def duration_text(seconds: float) -> str:
    """`42 s`, `3 min`, `2 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def short_duration_text(seconds: float) -> str:
    """Like `duration_text`, with tenths below ten seconds: `0.4 s`, `42 s`, `3 min`."""
    return f"{seconds:.1f} s" if seconds < 10 else duration_text(seconds)


def size_text(size_bytes: float) -> str:
    """`1.2 GB`, `12.3 MB`, `999 B`: powers of ten."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def count_text(count: int, thing: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
