"""No circle of imports between files. `.importlinter` holds the packages; this holds the files within them."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("carcls", "search", cache_dir=None)
    modules = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(modules) > 250, "both packages were read"
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
