"""The final training: a small study of given trainings, then their scores and one exported model."""
