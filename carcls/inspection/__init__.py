"""What `carsearch data check` looks at: findings, and a contact sheet."""
