"""Every file and module that the papers name exists."""

import re
from pathlib import Path

import pytest

from docs.reference import meanings

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/*.md", "docs/decisions/*.md", "carcls/**/*.md", "experiments/*.yaml", ".github/**/*.yml")
PAPERS = sorted(
    path
    for pattern in PATTERNS
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it names files as they were called then
)
TOPS = "carcls|search|tests|benchmarks|docs|experiments"
NAMED_FILE = re.compile(rf"(?<![\w/.-])((?:{TOPS}|\.github|\.ci)/[\w./-]*\w)")
NAMED_MODULE = re.compile(rf"(?<![\w/.-])((?:{TOPS})(?:\.[a-z_]\w*)+)(?![\w/])")
NAMED_TEST = re.compile(r"(?<![\w/])((?:\w+/)*test_\w+\.py)")

KEYS = set(meanings())
"""Keys of an experiment file; some read like modules. Named ones have to exist too."""

MADE_BY_READERS = {"experiments/mycars.yaml", "docs/_build"}
"""Named in instructions; not in the repository."""


def text_of(paper: Path) -> str:
    return paper.read_text(encoding="utf-8")


def is_module(name: str) -> bool:
    """Whether a dotted name is a module or a package, or a word in one."""
    place = ROOT.joinpath(*name.split("."))
    if place.is_dir() or place.with_suffix(".py").exists():
        return True
    for source in (place.parent.with_suffix(".py"), place.parent / "__init__.py"):
        if source.exists() and re.search(rf"\b{place.name}\b", source.read_text(encoding="utf-8")):
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
    there = [path.as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    named = set(NAMED_TEST.findall(text_of(paper)))
    assert sorted(name for name in named if not any(place.endswith(f"/{name}") for place in there)) == []


@pytest.mark.parametrize("paper", [path for path in PAPERS if path.parent == ROOT], ids=lambda paper: paper.name)
def test_links_of_root_pages_lead_somewhere(paper):
    """The site's build checks those inside docs/."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text_of(paper))
    assert sorted(link for link in links if not (ROOT / link).exists()) == []
