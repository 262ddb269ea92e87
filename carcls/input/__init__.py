"""The input pipeline: pixels decoded once per node, the plan of an epoch, and the processes that prepare batches."""
