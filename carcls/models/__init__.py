"""A backbone's name -> a keras.Model with whole blocks to freeze."""

import carcls.backend.framework  # noqa: F401 - Keras as we rely on it, before any module here imports it
