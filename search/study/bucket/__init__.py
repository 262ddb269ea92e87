"""Studies in object storage: a folder of the driver's machine mirrors the one there; nodes fetch what they train."""
