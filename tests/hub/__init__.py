"""What only runs with KerasHub, see `make hub`."""
