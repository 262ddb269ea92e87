"""What a supervisor sends to its child. The end of the pipe says that the supervisor is gone."""

RECORDED = b"."
"""The driver has recorded the child's epoch."""
HAND_OVER = b"h"
"""Save the state now, even within an epoch, and end: the training continues elsewhere."""
