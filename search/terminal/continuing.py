"""How to continue what was interrupted, in words."""

SAME_COMMAND = "the same command"
"""Continues a final training, unless it is one step of a command that is continued in another way."""
OR_RESUME = "'carsearch run ... --or-resume'"
"""Continues a command of several steps."""
