"""The experiment file: from YAML text to a checked `Experiment`."""
