"""Turns a data folder into checked tables of photos: finds labels and photos, and quarantines what cannot be used."""
