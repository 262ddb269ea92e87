"""From a folder of photos to an experiment file: what is there, what fits it, and how long that takes."""
