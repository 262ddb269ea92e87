"""Decides which configurations to train, where and for how long, and remembers everything."""
