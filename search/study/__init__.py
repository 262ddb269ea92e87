"""A study's folder and what lies in it: the journal of its trials, its frozen experiment, its scores."""
