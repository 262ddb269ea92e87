"""What an error of Ray says about a segment whose worker vanished. Pure."""

from search.worker.segment import Outcome

_NOT_INSTALLED = ("ModuleNotFoundError", "ImportError", "failed to import", "unexpected keyword argument")
"""Parts of messages of a worker whose node lacks carsearch, or has another version."""


def lost_outcome(error: object) -> Outcome:
    """The outcome of a segment whose actor failed, in the last line of Ray's words.

    `unable` if the node's Python could not load our code, else `killed`.
    """
    text = str(error).strip()
    is_missing = any(part in text for part in _NOT_INSTALLED)
    return Outcome("unable" if is_missing else "killed", text.splitlines()[-1] if text else None)
