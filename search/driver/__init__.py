"""What runs a study's trials: the seam between deciding and training, and this machine's own processes behind it."""
