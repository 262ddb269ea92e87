"""Atomic writes, safe reading of untrusted files, the home folder and the module path."""
