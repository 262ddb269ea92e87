"""How training photos vary: built-in augmentation policies and policy files."""

import os

# Importing albumentations otherwise asks a server for its newest version: no training may depend on a network. Here,
# because it must be set before the first module of this package imports it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
