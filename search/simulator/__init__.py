"""Searches on a virtual clock, with recorded or synthetic blackboxes instead of photos and GPUs."""
