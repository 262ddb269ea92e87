"""Photos on disk -> checked tables, splits, pixels, views, batches."""
