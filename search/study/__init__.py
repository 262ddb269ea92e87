"""A study's folder and its contents: the journal of its trials, its frozen experiment, its scores."""
