"""From the experiment file's text to plain values, each with its place in the file."""
