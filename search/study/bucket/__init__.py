"""Studies whose results are in object storage: a folder of this machine that mirrors the one there."""
