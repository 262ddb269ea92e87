"""A data folder -> checked tables of photos: where the labels are, which files are photos, what cannot be used."""
