"""What is known of a Ray cluster's nodes, and what is prepared on them."""
