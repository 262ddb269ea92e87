"""Scores from probabilities: metrics, comparisons of weights, and the expected accuracy on new photos."""
