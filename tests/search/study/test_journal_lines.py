import json
import math

from hypothesis import given
from hypothesis import strategies as st

from search.study.record.journal_lines import ChecksumChain, hash_of, hash_of_intact

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def journal(entries: list[dict[str, object]]) -> list[bytes]:
    chain, lines = ChecksumChain(), []
    for entry in entries:
        lines.append(chain.sealed({"op_code": 8, "worker_id": "w", **entry}))
        assert chain.read(lines[-1]) is not None
    return lines


@given(VALUES)
def test_a_line_is_read_as_json_reads_it(value):
    (line,) = journal([{"value": value}])
    assert ChecksumChain().read(line) == {"op_code": 8, "worker_id": "w", "value": json.loads(json.dumps(value))}


def test_values_that_strict_json_lacks_are_read():
    big = 10**30
    (line,) = journal([{"loss": math.nan, "best": math.inf, "count": big, "name": "\ud800"}])
    entry = ChecksumChain().read(line)
    assert entry is not None
    assert math.isnan(entry["loss"])
    assert (entry["best"], entry["count"], entry["name"]) == (math.inf, big, "\ud800")


@given(st.integers(0, 2), st.data())
def test_the_last_checksum_stands_for_all_lines(damaged, data):
    lines = journal([{"value": number} for number in range(3)])
    content = b"".join(lines)
    assert hash_of_intact(content).digest() == hash_of(content).digest()
    begin = sum(len(line) for line in lines[:damaged])
    at = begin + data.draw(st.integers(0, len(lines[damaged]) - 1))
    assert not hash_of_intact(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def test_a_last_line_that_is_torn_or_unsealed_is_not_intact():
    content = b"".join(journal([{"value": 1}, {"value": 2}]))
    assert not hash_of_intact(content[:-1])
    assert not hash_of_intact(content + b'{"op_code":8,"worker_id":"w"}\n')
    assert not hash_of_intact(b"")


def test_verified_lines_give_the_same_chain():
    lines, checked, trusted = journal([{"value": 1}, {"value": 2}]), ChecksumChain(), ChecksumChain()
    for line in lines:
        assert checked.read(line) == trusted.read_verified(line)
    trusted.catch_up(hash_of_intact(b"".join(lines)))
    assert checked.sealed({"op_code": 1}) == trusted.sealed({"op_code": 1})
    assert (checked.lines, checked.end, checked.checked) == (trusted.lines, trusted.end, trusted.checked)
