"""The final training: a small study of fixed configurations, then their scores and one exported model."""
