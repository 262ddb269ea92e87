import gzip
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.events import PhaseSeconds
from search.errors import CurvesError
from search.simulator.curves import Curve, CurvePoint, read_curves, write_curves
from tests.helpers.search.policy_builders import report

SHARES = st.integers(0, 120).map(lambda right: round(right / 120, 6))
SECONDS = st.integers(0, 10**6).map(lambda us: us / 1000)
POINTS = st.builds(CurvePoint, st.integers(0, 3), st.booleans(), SHARES, SECONDS, SHARES, SECONDS, SECONDS)
PARAMS = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5))
CURVES = st.builds(
    Curve, PARAMS, st.integers(0, 9), st.integers(1, 4), st.lists(POINTS, max_size=4).map(tuple), st.booleans()
)


@settings(deadline=None)  # it writes files
@given(curves=st.lists(CURVES, max_size=3))
def test_curves_round_trip_to_the_same_bytes(curves, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("curves") / "c.jsonl.gz"
    write_curves(path, curves, name="n")
    first = path.read_bytes()
    found = read_curves(path)
    assert found == tuple(curves)
    write_curves(path, found, name="n")
    assert path.read_bytes() == first


def test_a_point_is_an_epoch_without_the_seconds_of_store_and_holdout() -> None:
    epoch = replace(
        report(3, 0.75, stage=1, ended=True, log_loss=0.5),
        holdout_accuracy=0.7,
        holdout_log_loss=0.6,
        seconds=PhaseSeconds(train=1, validate=2, build=4, trace=8, store=16, data_wait=32, holdout=64),
    )
    assert CurvePoint.of(epoch) == CurvePoint(1, True, 0.75, 0.5, 0.7, 0.6, 47)


def test_an_epoch_without_holdout_score_is_an_error() -> None:
    with pytest.raises(CurvesError, match=r"epoch 3 has no holdout score: set data\.holdout"):
        CurvePoint.of(report(3, 0.75))


def test_the_best_epoch_is_the_earlier_of_equals_by_validation() -> None:
    worse, best = CurvePoint(0, True, 0.5, 1.0, 0.9, 0.1, 1.0), CurvePoint(1, False, 0.6, 1.0, 0.1, 2.0, 1.0)
    curve = Curve({}, 0, 2, (worse, best, replace(best, holdout_accuracy=0.2)))
    assert curve.best is best
    assert curve.seconds == 3.0
    assert Curve({}, 0, 2, ()).best is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", r"c\.gz: cannot be read"),
        (gzip.compress(b"", mtime=0), r"c\.gz: cannot be read"),
        (gzip.compress(b"x" * 100, mtime=0)[:20], r"c\.gz: cannot be read"),
        (gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, r"c\.gz: cannot be read: Error -3 while decompressing"),
        (gzip.compress(bytes(2**28 + 1), 1, mtime=0), r"c\.gz: cannot be read: unpacks to more than 268,435,456 bytes"),
        (gzip.compress(b"[" * 10**5, mtime=0), r"c\.gz: expected the format 'carsearch curves 1', found"),
        (gzip.compress(b'{"format": "carsearch curves 1"}\n' + b"[" * 10**5, mtime=0), r"c\.gz:2: not a curve"),
        (gzip.compress(b'{"format": "other"}\n', mtime=0), r"c\.gz: expected the format 'carsearch curves 1', found"),
        (gzip.compress(b"[]\n", mtime=0), r"c\.gz: expected the format 'carsearch curves 1', found"),
        (gzip.compress(b"{\n", mtime=0), r"c\.gz: expected the format 'carsearch curves 1', found"),
        (gzip.compress(b'{"format": "carsearch curves 1"}\n{"seed": 1}\n', mtime=0), r"c\.gz:2: not a curve"),
        (gzip.compress(b'{"format": "carsearch curves 1"}\n7\n', mtime=0), r"c\.gz:2: not a curve"),
    ],
)
def test_a_damaged_file_of_curves_is_refused_by_line(tmp_path, content, message) -> None:
    (tmp_path / "c.gz").write_bytes(content)
    with pytest.raises(CurvesError, match=message):
        read_curves(tmp_path / "c.gz")


def test_a_table_with_the_old_column_names_is_read(tmp_path) -> None:
    point = CurvePoint(0, True, 0.5, 1.25, 0.375, 1.5, 2.0)
    write_curves(tmp_path / "new.jsonl.gz", [Curve(params={"x": 1}, seed=0, stage_count=1, points=(point,))], name="x")
    text = gzip.decompress((tmp_path / "new.jsonl.gz").read_bytes()).decode()
    assert "holdout_accuracy" in text
    (tmp_path / "old.jsonl.gz").write_bytes(gzip.compress(text.replace("holdout_", "judge_").encode()))
    assert read_curves(tmp_path / "old.jsonl.gz") == read_curves(tmp_path / "new.jsonl.gz")
