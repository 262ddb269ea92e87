"""`carsearch backbones`: one line for each row, without keras, and kept in docs/backbones.md."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from carcls.catalog import BACKBONES, HUB_BACKBONES
from search.cli.commands.backbones import backbone_lines, hub_lines

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
    tables = [*backbone_lines(tuple(BACKBONES.values())), "", *hub_lines(tuple(HUB_BACKBONES.values()))]
    is_missing = find_spec("keras_hub") is None
    assert printed == tables + ["KerasHub is not installed here: pip install 'carsearch[hub]'"] * is_missing
    assert loaded == "[]"


def test_the_documented_table_is_the_printed_one():
    blocks = DOCS.read_text(encoding="utf-8").split("```")
    assert blocks[1].strip("\n").splitlines() == backbone_lines(tuple(BACKBONES.values()))
    assert blocks[3].strip("\n").splitlines() == hub_lines(tuple(HUB_BACKBONES.values()))[2:]


def test_one_line_tells_everything_of_a_backbone_of_kerashub():
    lines = hub_lines(tuple(HUB_BACKBONES.values()))
    table = {line.split()[0]: line.split()[1:] for line in lines[3 : 3 + len(HUB_BACKBONES)]}
    assert list(table) == list(HUB_BACKBONES)
    assert table["DINOv2Small"] == ["22.6", "90", "518", "42", "14", "13", "mean/std", "dinov2_small"]
    assert table["ViTTiny16"] == ["5.5", "22", "224", "32", "16", "13", "-1..1"]
    assert max(len(line) for line in lines) <= 110
