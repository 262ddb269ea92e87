import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.errors import EvidenceError
from carcls.scoring.evidence import Evidence, as_evidence, evidence_labels, sampled_rows


def some(seed: int, photos: int = 5, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=photos).astype(np.float16)


def equal(one: Evidence, other: Evidence) -> bool:
    same_holdout = (one.holdout is None) == (other.holdout is None) and (
        one.holdout is None or np.array_equal(one.holdout, other.holdout)
    )
    return (
        np.array_equal(one.validation, other.validation)
        and same_holdout
        and one.averages.keys() == other.averages.keys()
        and all(equal(one.averages[name], other.averages[name]) for name in one.averages)
    )


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(some(0)),
        Evidence(some(0), some(1, photos=2)),
        Evidence(some(0), some(1), {"ema-0.96": Evidence(some(2), some(3)), "last-3": Evidence(some(4), some(5))}),
    ],
)
def test_evidence_survives_a_message_and_a_file_bit_for_bit(evidence, tmp_path):
    assert equal(Evidence.from_text(evidence.to_text()), evidence)
    evidence.write(tmp_path / "probabilities" / "epoch-0001.npz")
    assert equal(Evidence.read(tmp_path / "probabilities" / "epoch-0001.npz"), evidence)
    assert [path.name for path in (tmp_path / "probabilities").iterdir()] == ["epoch-0001.npz"]


def test_damaged_evidence_is_named(tmp_path):
    path = tmp_path / "epoch-0001.npz"
    Evidence(some(0)).write(path)
    whole = path.read_bytes()
    for content in (b"", whole[:-5], whole[: len(whole) // 2], b"\x00" * 40):
        path.write_bytes(content)
        with pytest.raises(EvidenceError, match=r"epoch-0001\.npz: cannot be read as an epoch's probabilities"):
            Evidence.read(path)
    with pytest.raises(EvidenceError, match="missing"):
        Evidence.read(tmp_path / "missing.npz")
    with pytest.raises(EvidenceError, match="the probabilities in a message cannot be read"):
        Evidence.from_text("AAAA")
    with pytest.raises(EvidenceError, match="the probabilities in a message cannot be read"):
        Evidence.from_text("not base64!")


def test_all_photos_are_kept_if_they_fit():
    labels = np.array([0, 1, 1])
    assert sampled_rows(labels, 2) is None
    assert as_evidence(np.eye(2)[labels], labels).tolist() == np.eye(2)[labels].tolist()
    assert evidence_labels(labels, 2) is labels


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=6),
    limit=st.integers(0, 400),
    seed=st.integers(0, 1000),
)
def test_a_sample_is_stratified_fixed_and_within_its_bytes(counts, limit, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    classes = len(counts)
    rows = sampled_rows(labels, classes, max_bytes=limit)
    fits = max(classes, limit // (2 * classes))
    if rows is None:
        assert len(labels) <= fits
        return
    assert np.array_equal(rows, sampled_rows(labels.copy(), classes, max_bytes=limit))
    assert (np.diff(rows) > 0).all()
    kept = np.bincount(labels[rows], minlength=classes)
    for count, of in zip(kept, counts, strict=True):
        assert count == max(1, of * fits // len(labels))
    assert len(rows) <= fits + classes


def test_a_large_part_is_sampled_and_its_labels_go_with_it(monkeypatch):
    monkeypatch.setattr("carcls.scoring.evidence.sampled_rows", lambda labels, classes: np.array([1, 2]))
    labels = np.array([0, 1, 0, 1])
    probabilities = np.arange(8.0).reshape(4, 2)
    assert as_evidence(probabilities, labels).tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert evidence_labels(labels, 2).tolist() == [1, 0]


def test_no_bit_of_its_list_of_entries_hides_a_part(tmp_path):
    path = tmp_path / "epoch-0001.npz"
    parts = np.full((2, 3), 1 / 3, np.float16)
    Evidence(parts, parts, {"ema-0.96": Evidence(parts)}).write(path)
    content = path.read_bytes()
    hidden = []
    for place in range(content.index(b"PK\x01\x02"), len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                found = Evidence.read(path)
            except EvidenceError:
                continue
            if found.holdout is None or found.averages.keys() != {"ema-0.96"}:
                hidden.append((place, bit))
    assert hidden == []
