"""Unpacks untrusted archives of photos (zip and tar, also nested) into one folder, within a size budget."""
