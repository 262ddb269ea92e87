"""Exit codes of the commands, besides 0 for success."""

import signal

FAILED = 1
"""The command ran, but found damage or unusable photos."""
ERROR = 2
"""An error meant for the user, or a search that stopped early and can be resumed."""
INTERRUPTED = 128 + signal.SIGINT
"""The user or a signal interrupted a search, as shells report it."""
TERMINATED = 128 + signal.SIGTERM
"""SIGTERM ended a search or a final training, as shells report it."""
NO_READER = 128 + signal.SIGPIPE
"""The reader of the results exited, as shells report it."""
