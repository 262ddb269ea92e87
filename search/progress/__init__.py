"""A running or finished search in words and numbers: live table, TensorBoard, closing lines."""
