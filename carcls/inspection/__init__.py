"""The checks of `carsearch data check`: findings and a contact sheet."""
