"""Splits labelled photos into training, validation and holdout parts, or K folds. Look-alikes stay together."""
