"""Imports TensorFlow and all training code once, in the fork server, for every child.

An import error is kept for the children to report. Raised here it would end the server, and each trial would look
killed.
"""

import_error: Exception | None = None
"""Why no child can train, or None if the import succeeded."""

try:
    import search.worker.child  # noqa: F401 - imported for the fork server's children
except Exception as error:  # noqa: BLE001 - a broken framework may raise anything, and the child reports it
    import_error = error
