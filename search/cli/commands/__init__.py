"""Commands that have files of their own, and what only they need."""
