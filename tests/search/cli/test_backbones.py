"""`carsearch backbones`: one line for each row, without keras, and kept in docs/backbones.md."""

import subprocess
import sys
from pathlib import Path

from carcls.catalog import BACKBONES
from search.cli.commands.backbones import backbone_lines

DOCS = Path(__file__).parents[3] / "docs" / "backbones.md"


def test_one_line_tells_everything_of_a_backbone():
    lines = backbone_lines(tuple(BACKBONES.values()))
    table = {line.split()[0]: line.split()[1:] for line in lines[1 : 1 + len(BACKBONES)]}
    assert list(table) == list(BACKBONES)
    assert table["VGG16"] == ["14.7", "59", "224", "32", "5", "no", "BGR-mean"]
    assert table["InceptionResNetV2"] == ["54.3", "217", "299", "75", "46", "yes", "-1..1"]
    assert table["MobileNetV3Small"] == ["0.9", "4", "224", "32", "13", "yes", "0..255", "0.75", "1.0"]
    assert max(len(line) for line in lines) <= 110
    assert not any(line.endswith(" ") for line in lines)


def test_the_command_prints_it_without_loading_a_framework():
    program = (
        "import sys; from search.cli.commands.backbones import backbones; backbones();"
        " print(sorted({'keras', 'tensorflow', 'numpy', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *printed, loaded = done.stdout.splitlines()
    assert printed == backbone_lines(tuple(BACKBONES.values()))
    assert loaded == "[]"


def test_the_documented_table_is_the_printed_one():
    documented = DOCS.read_text(encoding="utf-8").split("```")[1].strip("\n")
    assert documented.splitlines() == backbone_lines(tuple(BACKBONES.values()))
