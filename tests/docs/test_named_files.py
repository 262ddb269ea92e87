"""Every file and module that the papers name exists."""

import re
from pathlib import Path

import pytest

from docs.reference import meanings

ROOT = Path(__file__).parents[2]
PAPERS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/decisions/*.md", ".github/**/*.yml", "CITATION.cff")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it names files as they were called then
)
TOPS = "carcls|search|tests|benchmarks|docs|experiments"
NAMED_FILE = re.compile(rf"(?<![\w/.-])((?:{TOPS}|\.github|\.ci)/[\w./-]*\w)")
NAMED_MODULE = re.compile(rf"(?<![\w/.-])((?:{TOPS})(?:\.[a-z_]\w*)+)(?![\w/])")
NAMED_TEST = re.compile(r"(?<![\w/])(?:\w+/)?(test_\w+\.py)")

KEYS = set(meanings())
"""Keys of an experiment file; some read like modules. Named ones have to exist too."""

MADE_BY_READERS = {"experiments/mycars.yaml", "docs/_build"}
"""Named in instructions; not in the repository."""

REPLACED_BY_A_BENCHMARK = {"docs/reliability.md": "<!-- benchmark: reliability -->"}
"""From this mark on a page is a benchmark's output, with the names of tests at its commit."""


def text_of(paper: Path) -> str:
    text = paper.read_text(encoding="utf-8")
    mark = REPLACED_BY_A_BENCHMARK.get(paper.relative_to(ROOT).as_posix())
    return text.partition(mark)[0] if mark else text


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute one or two levels inside one."""
    parts = name.split(".")
    for length in range(len(parts), max(1, len(parts) - 2) - 1, -1):
        place = ROOT.joinpath(*parts[:length])
        if place.with_suffix(".py").exists() or (place.is_dir() and length > 1):
            return True
    return False


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.relative_to(ROOT).as_posix())
def test_named_files_exist(paper):
    named = set(NAMED_FILE.findall(text_of(paper))) - MADE_BY_READERS
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.relative_to(ROOT).as_posix())
def test_named_modules_and_keys_exist(paper):
    named = set(NAMED_MODULE.findall(text_of(paper))) - KEYS
    files = {name for name in named if re.search(r"\.(md|yaml|yml|csv|jsonl|npz|html)$", name)}
    assert sorted(name for name in named - files if not is_module(name)) == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.relative_to(ROOT).as_posix())
def test_named_tests_exist(paper):
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(set(NAMED_TEST.findall(text_of(paper))) - there) == []


@pytest.mark.parametrize("paper", [path for path in PAPERS if path.parent == ROOT], ids=lambda paper: paper.name)
def test_links_of_root_pages_lead_somewhere(paper):
    """The site's build checks those inside docs/."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text_of(paper))
    assert sorted(link for link in links if not (ROOT / link).exists()) == []
