"""Trains one classifier from one configuration, in stages."""
