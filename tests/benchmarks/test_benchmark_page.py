import json

import pytest

from benchmarks.harness import interleaved, judge, table
from benchmarks.page import Run, render, section, sections, split_output

LINE = {"name": "input", "ours": 2.0, "peer": 1.0, "ratio": 2.0, "target": 5.0, "holds": False}


def run_of(name: str, printed: str = "a table\n", **line) -> Run:
    return Run(
        name=name,
        title="what it measures",
        command=f"python -m benchmarks.{name}",
        output=f"{printed}\n{json.dumps(LINE | {'name': name} | line)}\n",
        date="2026-01-31",
        commit="abc1234",
        machine="a machine",
        versions="Python 3.11",
        seconds=61.4,
    )


def test_output_is_the_table_and_the_last_line():
    assert split_output(f"one\ntwo\n\n{json.dumps(LINE)}\n") == ("one\ntwo", LINE)


@pytest.mark.parametrize("output", ["", "a table\n", '{"name": "x"}\n', "[1]\n", f"{json.dumps(LINE)}\nafter it\n"])
def test_output_without_its_json_line_is_refused(output):
    with pytest.raises(ValueError, match="last line"):
        split_output(output)


def test_a_section_tells_command_machine_commit_and_a_miss():
    text = section(run_of("input"))
    assert "## input: what it measures" in text
    assert "**Misses.** 2026-01-31, commit abc1234, 61 s on a machine; Python 3.11." in text
    assert "```\n$ python -m benchmarks.input\na table\n```" in text
    assert json.dumps(LINE) in text
    assert "**Holds.**" in section(run_of("input", holds=True))


def test_one_section_is_replaced_and_the_others_stay_byte_for_byte():
    order = ["input", "startup", "full_size"]
    first = render({name: section(run_of(name)) for name in ("full_size", "input")}, order)
    assert first.index("## input") < first.index("## full_size")
    second = render(sections(first) | {"startup": section(run_of("startup", "new"))}, order)
    assert list(sections(second)) == order
    assert sections(second)["input"] == sections(first)["input"]
    assert sections(second)["full_size"] == sections(first)["full_size"]
    assert render(sections(second), order) == second
    assert "startup" not in render(sections(second), ["input", "full_size"])


def test_no_sections_in_another_text():
    assert sections("# Performance\n\nwritten by hand\n") == {}


def test_ratios_grow_with_what_is_better():
    assert judge("speed", ours=800.0, peer=1000.0, target=0.8).holds
    assert not judge("speed", ours=799.0, peer=1000.0, target=0.8).holds
    seconds = judge("time", ours=10.0, peer=23.0, target=2.2, smaller_is_better=True)
    assert (seconds.ratio, seconds.holds) == (2.3, True)
    with pytest.raises(ValueError, match="positive"):
        judge("speed", ours=0.0, peer=1.0, target=1.0)


def test_contenders_take_turns():
    order = []

    def contender(name):
        return lambda: order.append(name) or float(len(order))

    figures = interleaved({"a": contender("a"), "b": contender("b")}, rounds=2)
    assert order == ["a", "b", "a", "b"]
    assert figures == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_a_table_lines_figures_up():
    assert table(("what", "images/s"), [("ours", 12345.6), ("peer", 7)]) == (
        "what  images/s\n----  --------\nours    12,346\npeer         7"
    )
