"""Predicted memory against what XLA plans for the compiled training step."""

from importlib.util import find_spec

import pytest

if find_spec("tensorflow") is not None or find_spec("jax") is None:
    pytest.skip("`make jax` runs this, in an environment with JAX and without TensorFlow", allow_module_level=True)

from benchmarks.memory import MARGIN, Case, compare


@pytest.mark.parametrize(
    "case",
    [
        Case("MobileNetV2", 64, 8, unfreeze=1.0, alpha=0.35),
        Case("MobileNetV2", 64, 16, unfreeze=0.5, alpha=0.35, optimizer="sgd"),
    ],
    ids=["all", "half"],
)
def test_the_prediction_is_near_the_compilers_plan(case: Case) -> None:
    found = compare(case)
    assert 1 - MARGIN < found.ratio < 1 + MARGIN, found
