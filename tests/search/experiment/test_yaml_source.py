import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import ExperimentError
from search.experiment.file.yaml_source import MAX_BYTES, dump, parse_source, read_source, walk


def problem(text):
    with pytest.raises(ExperimentError) as caught:
        parse_source(text, "f.yaml")
    (only,) = caught.value.problems
    return only


def test_positions_are_the_lines_of_keys_and_items():
    source = parse_source("a: 1\nb:\n  c: {d: 2}\n  e:\n    - 3\n    - name: x\n", "f.yaml")
    assert source.tree == {"a": 1, "b": {"c": {"d": 2}, "e": [3, {"name": "x"}]}}
    assert source.where(("a",)).text == "f.yaml:1"
    assert source.where(("b", "c", "d")).text == "f.yaml:3"
    assert source.where(("b", "e", 1, "name")).text == "f.yaml:6"


def test_what_was_not_written_is_where_its_section_is():
    source = parse_source("a:\n  b: 1\n", "f.yaml")
    assert source.where(("a", "missing", "deeper")).text == "f.yaml:1"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("1e3", 1000.0),
        ("010", 10),
        ("0x10", 16),
        ("-3", -3),
        ("no", "no"),
        ("none", "none"),
        ("null", None),
        ("~", None),
        ("True", True),
        ("2026-11-20", "2026-11-20"),
        ("'3'", "3"),
        ("=", "="),
    ],
)
def test_scalars_are_yaml_1_2(written, value):
    found = parse_source(f"a: {written}", "f.yaml").tree["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "key", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3", "a", "is written twice, first at f.yaml:1"),
        ("a:\n\tb: 1\n", "f.yaml:2", "YAML", "spaces, not tabs"),
        ("a: [1\n", "f.yaml:2", "YAML", "cannot be read"),
        ("a: .inf\n", "f.yaml:1", "a", "finite number"),
        ("a: !!python/object:os.system x\n", "f.yaml:1", "a", "is not allowed here"),
        ("a: !!set {b}\n", "f.yaml:1", "a", "has the tag"),
        ("x: &x {b: 1}\na:\n  <<: *x\n", "f.yaml:3", "a", "merge keys"),
        ("? [1, 2]\n: 3\n", "f.yaml:1", "file", "expected a name as key"),
        ("", "f.yaml:1", "file", "expected a mapping of sections, found nothing"),
        ("- 1\n", "f.yaml:1", "file", "expected a mapping of sections"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2", "YAML", "cannot be read"),
        ('a: "\\ud800"\n', "f.yaml:1", "a", "not valid Unicode"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "f.yaml:1", "YAML", "cannot be read: Python int too large"),
        ("a: " + "9" * 5000, "f.yaml:1", "a", "is not allowed here"),
        ("a: &a [*a]\n", "f.yaml:1", "a.0.0", "expands to more than"),
        ("a: " + "[" * 40 + "]" * 40, "f.yaml:1", "a.0.0", "levels"),
    ],
)
def test_what_is_not_plain_yaml_is_named_with_its_line(text, where, key, words):
    found = problem(text)
    assert (found.where, found.key) == (where, key)
    assert words in found.message


def test_a_bomb_of_aliases_is_refused_before_it_expands():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "expands to more than" in problem("\n".join(lines)).message


def test_aliases_stand_for_their_value_each_on_its_own():
    tree = parse_source("a: &a {b: 1}\nc: *a\n", "f.yaml").tree
    assert tree == {"a": {"b": 1}, "c": {"b": 1}}
    assert tree["a"] is not tree["c"]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "long.yaml").write_text("#" * (MAX_BYTES + 1))
    for name, words in [("none.yaml", "no such file"), ("", "is a directory"), ("long.yaml", "longer than")]:
        with pytest.raises(ExperimentError, match=words):
            read_source(tmp_path / name)
    with pytest.raises(ExperimentError, match=r"latin.yaml:2: file: is not UTF-8"):
        read_source(tmp_path / "latin.yaml")


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["1e-4", "null", "<<", "=", ""]
)
TREES = st.dictionaries(
    TEXT,
    st.recursive(SCALARS | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)),
)


@given(TREES)
def test_dump_reads_back_to_the_same_tree(tree):
    back = parse_source(dump(tree), "f.yaml").tree
    assert back == tree
    assert [type(value) for _, value in walk(back)] == [type(value) for _, value in walk(tree)]
