import numpy as np
import pytest

from carcls.scoring.evidence import Evidence
from search.errors import CurvesError
from search.simulator.evidence_table import EvidenceTable, read_evidence_table, recorded, write_evidence

LABELS = np.array([0, 1, 2, 0])
HOLDOUT_LABELS = np.array([2, 1])


def probabilities(seed: int, photos: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(3, 0.3), size=photos).astype(np.float16)


def training(seed: int, epochs: int = 5) -> list[Evidence]:
    averages = {"ema-0.96": Evidence(probabilities(seed + 90, 4), probabilities(seed + 91, 2))}
    return [
        Evidence(probabilities(seed + at, 4), probabilities(seed + at + 50, 2), averages if at == epochs - 1 else {})
        for at in range(epochs)
    ]


def test_evidence_round_trips_up_to_the_steps_of_the_file(tmp_path):
    trainings = tuple(recorded(fold, training(10 * fold), LABELS, stage_ends=(2, 5)) for fold in (0, 1, 0))
    table = EvidenceTable((LABELS, LABELS[::-1]), HOLDOUT_LABELS, trainings)
    write_evidence(tmp_path / "t.npz", table)
    found = read_evidence_table(tmp_path / "t.npz")
    assert [labels.tolist() for labels in found.validation_labels] == [LABELS.tolist(), LABELS[::-1].tolist()]
    assert found.holdout_labels.tolist() == HOLDOUT_LABELS.tolist()
    for one, other in zip(found.trainings, trainings, strict=True):
        assert one.fold == other.fold
        assert one.holdout.keys() == other.holdout.keys() >= {2, 5}
        assert one.averages.keys() == {"ema-0.96"}
        pairs = [
            (one.validation, other.validation),
            *zip(one.averages["ema-0.96"], other.averages["ema-0.96"], strict=True),
        ]
        pairs += [(one.holdout[epoch], other.holdout[epoch]) for epoch in one.holdout]
        for read, written in pairs:
            np.testing.assert_allclose(read, written, atol=0.03)  # half a step of 1/63 near 1, renormalised
            np.testing.assert_allclose(read.sum(axis=-1), 1.0, atol=1e-6)
    write_evidence(tmp_path / "again.npz", table)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def test_holdout_probabilities_are_kept_for_selectable_epochs():
    epochs = training(0)
    right = np.full((4, 3), 0.05)
    right[np.arange(4), LABELS] = 0.9
    epochs[2] = Evidence(right.astype(np.float16), probabilities(7, 2))
    found = recorded(0, epochs, LABELS, stage_ends=(5,))
    assert set(found.holdout) == {3, 5}, "the end of a stage, and the best epoch by each score"
    np.testing.assert_array_equal(found.holdout[3], epochs[2].holdout.astype(np.float32))
    assert found.validation.shape == (5, 4, 3)


def test_an_epoch_without_holdout_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(CurvesError, match="without holdout probabilities"):
        recorded(0, [Evidence(probabilities(0, 4))], LABELS, stage_ends=(1,))
    (tmp_path / "t.npz").write_bytes(b"nothing")
    with pytest.raises(CurvesError, match=r"t\.npz: no evidence of a recording"):
        read_evidence_table(tmp_path / "t.npz")
