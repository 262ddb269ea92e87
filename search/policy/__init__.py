"""Which configuration to train next, and for how long: pure decisions over plain records."""
