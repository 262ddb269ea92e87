"""Keras and the device it runs on: settings, precision, memory and threads."""
