"""The address of a PostgreSQL database, without a password. Pure."""

import re
from urllib.parse import parse_qsl, urlsplit

_SCHEMES = ("postgresql", "postgres")
_SECRETS = {"password", "sslpassword", "oauth_client_secret"}
"""Parameters of libpq that hold a secret."""
_FORM = "postgresql://USER@HOST/DATABASE"
_IN_TEXT = re.compile(
    r"(://[^\s:/@]*:)\S*(?=@)|([?&][^=&\s]*(?:key|password|sas|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE
)


def checked_url(url: str) -> str:
    """The address as given. Raises ValueError if it is none, or holds a password; the message never quotes it.

    The study keeps the address in its files, so a password has to come from elsewhere.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its message may quote the address
        raise ValueError(f"expected {_FORM}, found no valid address") from None
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise ValueError(f"expected {_FORM}, or null for a file in the study's folder")
    if not url.isprintable() or " " in url:
        raise ValueError(f"expected {_FORM} without blanks and control characters")
    # Not `parts.password`, which misses one that contains an unquoted / ? or #.
    has_password = re.search(r":.*@", url.partition("://")[2]) is not None
    if has_password or _SECRETS & {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}:
        raise ValueError(
            "holds a password, which the study would keep in its files; take it out, and give it by ~/.pgpass or"
            " PGPASSWORD"
        )
    return url


def without_passwords(text: str) -> str:
    """A text with the passwords, keys and tokens of addresses in it replaced."""
    return _IN_TEXT.sub(lambda found: f"{found[1] or found[2]}***", text)
