"""What happens on the node that trains: one segment of a trial in a process of its own."""
