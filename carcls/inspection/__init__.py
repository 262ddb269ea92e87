"""What is on this machine: the checks of `carsearch data check`, a contact sheet, and weights files."""
