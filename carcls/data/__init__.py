"""Photos on disk -> checked tables, splits, pixels, views, batches."""

import os

# Importing albumentations otherwise asks a server for its newest version: no training may depend on a network. Here,
# because it must be set before the first module of this package imports it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
