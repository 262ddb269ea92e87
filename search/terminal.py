"""Lines for whoever started the command: results to standard output, warnings to standard error."""

import sys


def say(line: str) -> None:
    """One line of the command's result, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def warn(line: str) -> None:
    """One line that is not the command's result."""
    sys.stderr.write(line + "\n")
