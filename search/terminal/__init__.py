"""Text on a terminal: one console, the live view above it, log lines, and values as people read them."""
