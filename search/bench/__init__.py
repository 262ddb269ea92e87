"""What this machine can do: measured by `carsearch bench`, kept for it, and used to estimate times."""
