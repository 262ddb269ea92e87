"""The address of a PostgreSQL database, without a password. Pure."""

from urllib.parse import parse_qsl, urlsplit

_SCHEMES = ("postgresql", "postgres")
_SECRETS = {"password", "sslpassword", "oauth_client_secret"}
"""Parameters of libpq that hold a secret."""
_FORM = "postgresql://USER@HOST/DATABASE"


def checked_url(url: str) -> str:
    """The address as given. Raises ValueError if it is none, or holds a password; the message never quotes it.

    The study keeps the address in its files, so a password has to come from elsewhere.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or "://" not in url:
        raise ValueError(f"expected {_FORM}, or null for a file in the study's folder")
    if not url.isprintable() or " " in url:
        raise ValueError(f"expected {_FORM} without blanks and control characters")
    if parts.password is not None or _SECRETS & {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}:
        raise ValueError(
            "holds a password, which the study would keep in its files; take it out, and give it by ~/.pgpass or"
            " PGPASSWORD"
        )
    return url
