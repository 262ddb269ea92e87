"""Labelled photos -> training, validation and holdout parts, or K folds; look-alikes stay on one side."""
