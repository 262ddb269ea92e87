"""Where trials run: Ray, and the processes below it."""
