"""The table of what views gain, from predictions made by hand."""

import json

import numpy as np
import pytest

from benchmarks.views import OutOfFold, accuracy_rows, chosen_rows, gain_rows, measured, saved_rows, sets_of, write
from carcls.inference.tta import PLAIN
from carcls.inference.view_priors import RecordedStudy, priors_of


def out_of_fold(data_set: str, seed: int, *, noise: float = 1.5) -> OutOfFold:
    """Three views with independent errors, so that averaging them helps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 240)
    by_view = {}
    for view in ("zoom", PLAIN, "flip"):
        raised = np.exp(2.0 * np.eye(4)[labels] + rng.normal(0, noise, (240, 4)))
        by_view[view] = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return OutOfFold(data_set, f"{data_set}_{seed}", by_view, labels, np.arange(240) % 4, np.arange(240))


def test_sets_hold_plain_and_stand_in_the_order_of_the_views() -> None:
    assert sets_of(["zoom", PLAIN, "flip"]) == ((PLAIN, "flip"), (PLAIN, "zoom"), (PLAIN, "flip", "zoom"))


def test_a_study_is_measured_over_all_its_models() -> None:
    found = measured(out_of_fold("a", 0))
    assert (found.data_set, found.study, found.models, found.photos) == ("a", "a_0", 4, 240)
    assert set(found.gains) == set(sets_of(["zoom", PLAIN, "flip"]))
    assert all(gain.mean > 2 * gain.sd > 0 for gain in found.gains.values())
    assert len(gain_rows([found])) == 3
    assert all(float(told.partition(" ")[0]) > 0 for _, told in accuracy_rows([out_of_fold("a", 0)]))


def test_views_are_chosen_by_the_other_data_sets_and_the_photos() -> None:
    found = [out_of_fold("a", 0), out_of_fold("b", 1)]
    rows = chosen_rows(found, [measured(one) for one in found])
    assert [row[0] for row in rows] == ["a_0", "b_1"]
    assert all(row[1] == "plain+flip+zoom" for row in rows)
    for _, with_prior, _ in saved_rows(found, [measured(one) for one in found]):
        assert float(with_prior) > 0.1


def test_what_is_written_is_read_back(tmp_path) -> None:
    studies = [measured(out_of_fold("a", 0)), measured(out_of_fold("b", 1))]
    path = tmp_path / "table.json"
    write(studies, ["python", "-m", "benchmarks.views", "results/a b"], path)
    stored = json.loads(path.read_text())
    assert stored["source"]["command"] == "python -m benchmarks.views 'results/a b'"
    read = priors_of(RecordedStudy.from_json(row) for row in stored["studies"])
    for views, prior in priors_of(studies).items():
        assert read[views].gain.mean == pytest.approx(prior.gain.mean, abs=1e-5)
        assert read[views].gain.sd == pytest.approx(prior.gain.sd, abs=2e-5)
