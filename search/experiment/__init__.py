"""The experiment file: YAML text -> Experiment."""
