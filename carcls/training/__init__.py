"""One configuration -> one trained classifier."""
