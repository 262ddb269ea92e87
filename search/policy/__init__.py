"""Which configuration next, and for how long: pure decisions over plain records."""
