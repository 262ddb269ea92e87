"""Archives of photos -> files below one folder: zip and tar, nested or not, within one allowance."""
