"""What the fork server imports once, for every child: TensorFlow and all that trains.

An error is kept for the children to tell: raised here, it would end the server, and each trial look killed.
"""

failure: Exception | None = None
"""Why a child could not train anything; None where all is imported."""

try:
    import search.worker.child  # noqa: F401 - for its import alone
except Exception as error:  # noqa: BLE001 - a broken framework raises anything, and the child tells it
    failure = error
