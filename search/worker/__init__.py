"""Runs on the node that trains: one segment of a trial in its own process."""
