"""Parts of the page: each file computes the values of one from the study's records."""
