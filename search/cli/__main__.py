"""`python -m search.cli` is the `carsearch` command."""

from search.cli.app import main

if __name__ == "__main__":
    main()
