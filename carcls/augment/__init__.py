"""Augmentation of training photos: built-in policies, policy files, mixup and cutmix."""

import os

# Otherwise importing albumentations asks a server for its newest version, and training must not need a network. Set
# here, before any module of this package imports it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
