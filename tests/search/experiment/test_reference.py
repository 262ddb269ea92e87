"""docs/experiment-file.md names what an existing study may change; docs/keys.md, which is generated, has the keys."""

import re
from pathlib import Path

from search.experiment.changes import RESUMABLE, RETRAINABLE

GUIDE = Path(__file__).parents[3] / "docs" / "experiment-file.md"


def test_the_guide_names_what_an_existing_study_may_change():
    text = GUIDE.read_text(encoding="utf-8")
    for command, keys in (("resume", RESUMABLE), ("retrain", RETRAINABLE)):
        named = re.search(rf"^- `{command} --set`(.*?)\.$", text, re.MULTILINE | re.DOTALL)
        assert tuple(re.findall(r"`([a-z_.]+)`", named[1])) == keys
