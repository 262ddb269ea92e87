"""Names of archive entries as safe paths, or the reason to reject them. Pure."""

import re
import unicodedata

from carcls.errors import DataError

MAX_NAME_BYTES = 255
"""Limit of common file systems for one component of a path."""
MAX_PATH_BYTES = 1024


def check_collisions(paths: list[str], name: str) -> None:
    """Raises DataError if two paths are the same file on some file system, or one is a parent folder of another."""
    spelling: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            spelled = "/".join(parts[:count])
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", spelled).casefold())
            other = spelling.setdefault(key, spelled)
            if other != spelled:
                raise DataError(
                    f"{name}: {spelled!r} and {other!r} differ only by case or Unicode form and are the same file on"
                    " many file systems; rename one and pack the archive again"
                )
            if count < len(parts):
                folders.add(spelled)
            elif spelled in files:
                raise DataError(f"{name}: {spelled!r} occurs twice; pack the archive again with only one of them")
            else:
                files.add(spelled)
    both = sorted(files & folders)
    if both:
        raise DataError(f"{name}: {both[0]!r} is both a file and a folder; pack the archive again with other names")


def checked_path(raw: str, name: str) -> str:
    """An entry's name as a path that stays inside the target folder. Raises DataError."""
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    reason = _why_rejected(raw, parts)
    if reason:
        raise DataError(f"{name}: rejected because of its entry {raw[:200]!r}: {reason}; nothing was unpacked")
    return "/".join(parts)


def _why_rejected(raw: str, parts: list[str]) -> str:
    """Reason to reject a name; empty if it is valid."""
    try:
        sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    except UnicodeEncodeError:
        return "a name that is not valid Unicode"
    problems = {
        "an absolute name, which would leave the folder": raw.startswith("/") or re.match(r"[A-Za-z]:", raw),
        "a name with '..', which would leave the folder": ".." in parts,
        "a name with a backslash, which some systems treat as a path separator": "\\" in raw,
        "a name with control characters": any(unicodedata.category(sign) == "Cc" for sign in raw),
        "an empty name": not parts,
        f"a name over {MAX_NAME_BYTES} bytes, or {MAX_PATH_BYTES} with folders": max(sizes, default=0) > MAX_NAME_BYTES
        or sum(sizes) + len(sizes) > MAX_PATH_BYTES,
    }
    return next((reason for reason, applies in problems.items() if applies), "")
