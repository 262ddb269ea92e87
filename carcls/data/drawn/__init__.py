"""Procedurally drawn cars: models, camera, brush, body, trim and scene; `drawing` tells the story of one photo."""
