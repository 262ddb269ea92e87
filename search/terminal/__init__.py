"""Text on a terminal: output streams, the live view, log lines, tables, and formatted values."""
