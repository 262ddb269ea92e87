"""A trained classifier -> probabilities, submissions, an artefact."""
