"""What each way to a final model is worth on real photos, compared in pairs; see `__main__`."""
