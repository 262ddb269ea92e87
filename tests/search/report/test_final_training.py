"""The final training's part of the page."""

from dataclasses import replace

import pytest

from search.report.html import render
from search.study.ensemble_scores import EnsembleScores, MemberShare
from search.study.final_scores import Expected
from tests.helpers.search.report_page import EFFICIENCY, SCORES, Page, data


def test_the_final_training_is_on_the_page():
    page = "\n".join(Page(render(data(retrain=SCORES, submission="results/cars/submission.csv"))).texts)
    for text in (
        "0.9500",
        "0.8882 – 0.9785",
        "0.9600",
        "plain, flip",
        "0.0040 – 0.0310",
        "results/cars/submission.csv",
    ):
        assert text in page
    assert "Repeats trial 0001" in page
    assert "Efficiency" not in page, "scores of an older carsearch do not tell it"


def test_what_the_final_training_took_is_on_the_page():
    page = "\n".join(Page(render(data(retrain=SCORES | {"efficiency": EFFICIENCY}))).texts)
    for text in (
        "20\u202f881\u202f970 parameters, model file 83.9 MB, peak main memory 2.1 GB.",
        "Prediction: 12.4 ms a photo plain, 25.6 ms with 2 views, in batches of 16.",
        "head\n448\n5\n20\u202f490\n2 h 03 min\n119",
    ):
        assert text in page


def test_a_fixed_recipe_has_no_winner_and_no_leaderboard():
    page = "\n".join(Page(render(data([], retrain=SCORES | {"trial": None, "tta_note": "too few"}))).texts)
    assert "A fixed recipe" in page
    assert "Views in use: plain, flip (too few)." in page
    assert "Winner" not in page
    assert "Leaderboard" not in page
    assert "chose the best epoch and the views" in page


def test_the_evidence_for_views_stands_beside_them():
    evidence = {
        "views": ["plain", "flip"], "measured": 0.03, "measured_error": None, "prior": 0.01, "prior_sd": 0.02,
        "models": 4, "data_sets": 1, "posterior": 0.01, "posterior_sd": 0.02,
    }  # fmt: skip
    page = "\n".join(Page(render(data([], retrain=SCORES | {"tta_evidence": evidence}))).texts)
    assert "Views in use: plain, flip. plain, flip: save +0.0300 nats a photo here, +0.0100 ± 0.0200 by 4" in page
    assert "recorded models of 1 data set, +0.0100" in page


def test_long_texts_about_photos_are_told_to_their_end():
    gain = {"saved": 0.1, "low": 0.05, "high": 0.15, "photos": 18, "accuracy_before": 0.9, "accuracy_after": 0.95,
            "helps": True}  # fmt: skip
    refit = {"photos": 72, "stages": [[name, 10] for name in ("head", "half", "most", "full", "large")], "seconds": 9.0}
    more = {"photos": 1234, "gain": gain}
    page = "\n".join(Page(render(data([], retrain=SCORES | {"refit": refit, "extra": more, "pseudo": more}))).texts)
    assert page.count("accuracy 0.9000 without and 0.9500 with them.") == 2
    assert "The exported model trained on all 72 photos, head 10 + half 10" in page
    assert "so the scores are those of the training on the study's split." in page


def test_a_score_that_is_missing_is_named():
    with pytest.raises(KeyError, match="tta_views"):
        data(retrain={name: value for name, value in SCORES.items() if name != "tta_views"})


def test_the_exported_ensemble_is_on_the_page():
    ensemble = EnsembleScores(
        is_kept=True,
        members=(
            MemberShare("4 folds of <b>", 0.75, 0.9411, 0.2011, 4, None),
            MemberShare("3 folds", 0.25, 0.93, 0.25, 3, 9.0),
        ),
        best="3 folds", photos=722, candidates=2, accuracy=0.97, log_loss=0.1, best_accuracy=0.94, best_log_loss=0.2,
        fitted_accuracy=0.9612, fitted_log_loss=0.1234, single_accuracy=0.9456, single_log_loss=0.2345,
        interval=(0.0123, 0.0456), views=("plain", "flip"), ms=183.04, ms_plain=60.0,
        expected=Expected(0.9731, 0.9611, 0.9812, "the ensemble"),
    )  # fmt: skip
    html = render(data(retrain=SCORES, ensemble=ensemble, submission="results/cars/submission.csv"))
    page = "\n".join(Page(html).texts)
    for text in (
        "Expect on new photos\n0.9731",
        "0.9611 – 0.9812",
        "accuracy of the ensemble",
        "Cross-fitted\n0.9612",
        "A single member, cross-fitted\n0.9456",
        "0.0123 – 0.0456",
        "Kept; chosen among 2 candidates by 722 photos. One photo takes 183.0 ms, with plain, flip.",
        "4 folds of <b>\n75.0 %\n4\n0.9411\n0.2011",
    ):
        assert text in page
    assert page.index("results/cars/submission.csv") > page.index("4 folds of <b>")
    refused = "\n".join(Page(render(data([], ensemble=replace(ensemble, is_kept=False, expected=None)))).texts)
    assert "Refused, since it is not sure to help: the best single member is exported" in refused
    assert "Expect on new photos" not in refused
    assert "Ensemble" not in "\n".join(Page(render(data(retrain=SCORES))).texts)
