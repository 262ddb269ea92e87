"""Searches on a virtual clock: recorded or formula black boxes in place of photos and GPUs."""
