"""Prints what `make jax` installs: carsearch's dependencies with JAX in place of TensorFlow, and the tests' tools."""

import sys
import tomllib
from pathlib import Path

_TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis")


def main() -> None:
    """One requirement per line."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [one for one in project["dependencies"] if not one.startswith("tensorflow")]
    tools = [one for one in extras["dev"] if one.startswith(_TEST_TOOLS)]
    sys.stdout.write("\n".join([*needed, *extras["jax"], *tools]) + "\n")


if __name__ == "__main__":
    main()
