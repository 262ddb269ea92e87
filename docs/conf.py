"""How Sphinx builds the site: `make docs`. Needs no network; every warning, such as a dead link, is an error."""

project = "carsearch"
copyright = "2026, the carsearch authors"  # noqa: A001 - Sphinx asks for this name
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "carsearch"
html_show_sphinx = False
html_copy_source = False

# Anchors for headings down to this level, so that [text](page.md#heading) is checked.
myst_heading_anchors = 3
