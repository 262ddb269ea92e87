import json
from importlib.resources import files
from math import sqrt

import pytest

from carcls.inference.tta import PLAIN, VIEWS
from carcls.inference.view_priors import TABLE, RecordedStudy, priors_of, recorded_priors
from carcls.scoring.gains import Normal

FLIP = (PLAIN, "flip")


def study(data_set: str, mean: float, sd: float = 0.001, seed: int = 0) -> RecordedStudy:
    return RecordedStudy(data_set, f"{data_set}_seed{seed}", models=4, photos=700, gains={FLIP: Normal(mean, sd)})


def test_each_data_set_counts_once():
    studies = [study("a", 0.01), study("a", 0.03, seed=1), study("b", 0.06)]
    found = priors_of(studies)[FLIP]
    assert found.gain.mean == pytest.approx(0.04)
    assert (found.models, found.data_sets) == (12, 2)


def test_the_spread_is_of_the_gain_on_one_more_data_set():
    found = priors_of([study("a", 0.02), study("b", 0.06)])[FLIP]
    assert found.gain.sd == pytest.approx(sqrt(0.0008 * 1.5))


def test_a_prior_is_never_surer_than_the_photos_it_comes_from():
    assert priors_of([study("a", 0.02, 0.01), study("b", 0.02, 0.01)])[FLIP].gain.sd == pytest.approx(0.01 * sqrt(1.5))
    assert priors_of([study("a", 0.02, 0.01)])[FLIP].gain.sd == pytest.approx(0.01 * sqrt(2.0))


def test_the_order_of_studies_does_not_matter():
    studies = [study("a", 0.01), study("b", 0.03), study("c", -0.01)]
    assert priors_of(studies)[FLIP].gain.mean == pytest.approx(priors_of(studies[::-1])[FLIP].gain.mean)


def test_nothing_recorded_is_no_prior():
    assert priors_of([]) == {}


def test_a_row_is_read_as_it_was_written():
    written = study("a", 0.0123, 0.0045)
    assert RecordedStudy.from_json(json.loads(json.dumps(written.to_json()))) == written


def test_the_shipped_table_names_its_source_and_known_views_only():
    table = json.loads(files("carcls.inference").joinpath(TABLE).read_text(encoding="utf-8"))
    assert set(table["source"]) == {"command", "date"}
    known = list(VIEWS)
    for views, prior in recorded_priors().items():
        assert list(views) == sorted(views, key=known.index)
        assert views[0] == PLAIN
        assert prior.gain.sd > 0
        assert prior.data_sets >= 1
