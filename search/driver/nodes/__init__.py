"""What the driver knows of nodes and GPUs: places, slots, faults, refusals for lack of memory."""
