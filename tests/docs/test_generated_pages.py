"""docs/cli.md and docs/keys.md are what docs/reference.py writes from the code of today."""

import pytest

from carcls.config import TrainConfig
from docs.reference import DOCS, meanings, pages
from search.experiment.schema import all_fields
from search.experiment.settings import ExperimentSections


@pytest.mark.parametrize("name", ["cli.md", "keys.md", "events.schema.json"])
def test_a_generated_page_is_not_stale(name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run `python docs/reference.py`"


def test_every_key_is_listed_and_says_what_it_means():
    keys = {".".join(path) for path, _ in all_fields(ExperimentSections)}
    keys |= {".".join(("train", *path)) for path, _ in all_fields(TrainConfig)}
    listed = meanings()
    assert set(listed) == keys
    assert [key for key, meaning in listed.items() if not meaning] == []
