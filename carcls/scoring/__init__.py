"""Probabilities -> scores: metrics, comparisons, and the accuracy to expect on new photos."""
