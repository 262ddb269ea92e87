"""Keras and the device that it runs on: settings, precision, memory, threads."""
