"""Shows a running or finished search: live table, TensorBoard, closing lines."""
