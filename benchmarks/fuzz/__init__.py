"""Mutated files of every kind that users bring or that a study keeps: what becomes of each, counted."""
