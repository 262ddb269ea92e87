"""What a training step is made of: optimizer, loss, schedule, batches in parts, averages, its clock."""
