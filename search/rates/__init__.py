"""The learning-rate range test of an experiment file, and its page."""
