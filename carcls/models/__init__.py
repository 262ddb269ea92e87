"""Builds classifiers from backbones of keras.applications, loads weights, and freezes whole blocks."""

import carcls.backend.framework  # noqa: F401 - configures Keras before any module here imports it
