from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.policy.step_times import Measured, Wishes, final_s, fold_share, models_of, more_scoring_s, scoring_s
from search.policy.time_plan import (
    ENSEMBLE,
    FINAL,
    SCORING,
    SEARCH,
    folds_beside,
    plan_lines,
    time_plan,
    with_trainings_beside,
)

TOTALS = st.floats(60.0, 200_000.0)
WISHES = st.builds(
    Wishes,
    folds=st.integers(1, 8),
    most_folds=st.integers(1, 6),
    is_refitted=st.booleans(),
    is_compared=st.booleans(),
    is_pseudo=st.booleans(),
)
MEASURED = st.builds(
    Measured,
    training_s=st.none() | st.floats(1.0, 50_000.0),
    at_once=st.integers(1, 4),
    model_s=st.none() | st.floats(0.1, 1_000.0),
    predicted_s=st.none() | st.floats(0.1, 2_000.0),
    train_share=st.none() | st.floats(0.5, 0.95),
)


def next_count(folds, wishes):
    """The next larger number of folds that may be trained: never two, unless the file asks for them."""
    return 3 if folds in {0, 1} and wishes.folds != 2 else folds + 1


def with_scoring(total, folds, planned, wishes, measured):
    """Seconds of so many folds, and what they add to the scoring of those planned."""
    more = more_scoring_s(total, models_of(folds, wishes), models_of(planned, wishes), measured)
    return final_s(folds, wishes, measured) + more


def fewest(wishes):
    """Folds of an average."""
    return 2 if wishes.folds == 2 else 3


@given(TOTALS, st.floats(0.0, 1.5), WISHES, MEASURED, st.floats(0.0, 200_000.0))
def test_what_its_own_limit_keeps_from_the_search_goes_to_final_trainings(total, used, wishes, measured, most):
    plan = time_plan(total, used * total, wishes, measured, is_searching=True)
    limited = time_plan(total, used * total, wishes, measured, is_searching=True, most_search_s=most)
    assert limited.seconds(SEARCH) == min(plan.seconds(SEARCH), most)
    assert (limited.folds, limited.seconds(SCORING)) == (plan.folds, plan.seconds(SCORING))
    assert limited.seconds(FINAL) == pytest.approx(plan.seconds(FINAL) + limited.spare_s)
    if plan.folds:
        assert limited.spare_s == pytest.approx(plan.seconds(SEARCH) - limited.seconds(SEARCH))
    assert any("search.budget.hours" in line for line in plan_lines(limited)) == (limited.spare_s > 0.0)
    later = time_plan(total, used * total, wishes, measured, is_searching=False, most_search_s=most)
    assert later == time_plan(total, used * total, wishes, measured, is_searching=False)


@given(TOTALS, st.floats(0.0, 1.5), WISHES, MEASURED, st.booleans())
def test_a_plan_never_exceeds_what_is_left_and_uses_it_all_while_searching(total, used, wishes, measured, searching):
    plan = time_plan(total, used * total, wishes, measured, is_searching=searching)
    assert all(phase.seconds >= 0.0 for phase in plan.phases)
    planned = sum(phase.seconds for phase in plan.phases)
    assert planned <= plan.left_s + 1e-6
    if searching:
        assert planned == pytest.approx(plan.left_s, abs=1e-6), "the search is given whatever others do not need"
    assert [phase.name for phase in plan.phases] == [*([SEARCH] if searching else []), FINAL, ENSEMBLE, SCORING]


@given(TOTALS, st.floats(0.0, 1.0), WISHES, MEASURED)
def test_after_the_search_one_more_fold_would_not_fit(total, used, wishes, measured):
    plan = time_plan(total, used * total, wishes, measured, is_searching=False)
    room = plan.left_s - plan.seconds(ENSEMBLE) - plan.seconds(SCORING)
    assert plan.folds <= max(wishes.folds, wishes.most_folds)
    assert plan.seconds(FINAL) <= room + 1e-6
    more = next_count(plan.folds, wishes)
    if more <= max(wishes.folds, wishes.most_folds):
        assert with_scoring(total, more, plan.folds, wishes, measured) > room
    if plan.folds == 0:
        assert final_s(1, wishes, measured) > room


@given(TOTALS, WISHES, MEASURED)
def test_a_search_leaves_the_final_training_its_time_and_keeps_three_tenths(total, wishes, measured):
    plan = time_plan(total, 0.0, wishes, measured, is_searching=True)
    if measured.training_s is not None and plan.folds > 1:
        assert plan.seconds(FINAL) == pytest.approx(final_s(plan.folds, wishes, measured))
        assert plan.seconds(FINAL) <= 0.7 * (total - plan.seconds(ENSEMBLE) - plan.seconds(SCORING)) * (1 + 1e-9)
        assert plan.folds <= wishes.folds


@given(TOTALS, st.lists(st.floats(0.0, 0.2), min_size=1, max_size=8), WISHES, MEASURED)
def test_time_spent_is_never_planned_again(total, steps, wishes, measured):
    spent = 0.0
    for step in steps:
        before = time_plan(total, spent, wishes, measured, is_searching=True)
        spent += step * total
        after = time_plan(total, spent, wishes, measured, is_searching=True)
        assert after.left_s <= before.left_s
        assert after.seconds(SEARCH) <= before.left_s


@given(TOTALS, st.lists(st.floats(0.0, 0.2), min_size=1, max_size=8), WISHES, MEASURED, st.booleans())
def test_the_search_gains_no_time_as_long_as_a_final_training_fits(total, steps, wishes, measured, has_other):
    wishes, spent, before = replace(wishes, has_other=has_other), 0.0, None
    for step in steps:
        spent += step * total
        plan = time_plan(total, spent, wishes, measured, is_searching=True)
        if before is not None and plan.folds:
            assert plan.seconds(SEARCH) <= before + 1e-6
        before = plan.seconds(SEARCH)


@given(TOTALS, WISHES, MEASURED, st.floats(1.0, 50_000.0), st.booleans())
def test_a_search_that_ends_a_little_late_loses_no_fold(total, wishes, measured, training_s, has_other):
    wishes, measured = replace(wishes, has_other=has_other), replace(measured, training_s=training_s, predicted_s=None)
    start = time_plan(total, 0.0, wishes, measured, is_searching=True)
    late = start.seconds(SEARCH) + 0.08 * final_s(1, wishes, measured)
    after = time_plan(total, late, wishes, measured, is_searching=False)
    assert after.folds >= start.folds


def test_only_what_the_search_left_time_for_fits_with_less_margin():
    wishes, measured = Wishes(folds=4), Measured(800.0)
    search = time_plan(4800.0, 600.0, wishes, measured, is_searching=True)
    assert (search.folds, search.seconds(FINAL)) == (3, 3 * 1000.0), "four would take over 0.7 of 4,416 s"
    early = time_plan(4800.0, 300.0, wishes, measured, is_searching=False)
    assert early.folds == 4, "4,116 s; five take 5,000 with their margin"
    late = time_plan(4800.0, 1700.0, wishes, measured, is_searching=False)
    assert (late.folds, late.seconds(FINAL)) == (3, 2716.0), "2,640 of 2,716 s at the margin of what was kept"
    later = time_plan(4800.0, 2000.0, wishes, measured, is_searching=False)
    assert (later.folds, later.seconds(FINAL)) == (1, 1000.0), "two would train on half of the photos each"
    as_asked = time_plan(4800.0, 2000.0, replace(wishes, folds=2), measured, is_searching=False)
    assert as_asked.folds == 2


def test_folds_with_nothing_to_be_averaged_with_have_the_ensembles_time():
    wishes, measured = Wishes(folds=4), Measured(600.0, at_once=2)
    plan = time_plan(2400.0, 900.0, wishes, measured, is_searching=False)
    assert (plan.folds, plan.seconds(ENSEMBLE), plan.seconds(FINAL)) == (4, 0.0, 1380.0), "1,308 of 1,320 s with one"
    assert plan.seconds(SCORING) == 120.0
    fits = time_plan(2400.0, 900.0, wishes, Measured(500.0, at_once=2), is_searching=False)
    assert (fits.folds, fits.seconds(ENSEMBLE)) == (4, 72.0)
    one = time_plan(2400.0, 1100.0, wishes, measured, is_searching=False)
    assert (one.folds, one.seconds(ENSEMBLE)) == (1, 72.0), "the search's trials can be averaged"
    over = time_plan(2400.0, 900.0, wishes, measured, is_searching=False, has_final=True)
    assert over.seconds(ENSEMBLE) == 72.0


def test_a_fold_takes_as_long_as_its_photos():
    """One pass forward for each photo, and two more for those that train."""
    assert fold_share(4, 0.85) == pytest.approx((3 * 0.75 + 0.25) / (3 * 0.85 + 0.15))
    assert fold_share(1, 0.85) == fold_share(4, None) == 1.0, "the search's split"
    measured = Measured(100.0, at_once=2, train_share=0.5)
    assert final_s(4, Wishes(folds=4), measured) == pytest.approx(1.25 * 2 * 100.0 * 2.5 / 2.0)
    refitted = Wishes(folds=4, is_refitted=True)
    assert final_s(4, refitted, measured) == pytest.approx(1.25 * 100.0 * (2 * 2.5 + 3.0) / 2.0), "one on all photos"
    assert final_s(1, refitted, measured) == pytest.approx(1.25 * 100.0 * 3.0 / 2.0)


def test_no_time_is_kept_for_another_backbone_that_nothing_could_be_averaged_with():
    """One training on the search's split has no out-of-fold photos."""
    alone = time_plan(3600.0, 300.0, Wishes(folds=1), Measured(360.0), is_searching=True)
    plan = time_plan(3600.0, 300.0, Wishes(folds=1, has_other=True), Measured(360.0), is_searching=True)
    assert (plan.folds, plan.seconds(FINAL)) == (1, 450.0)
    assert plan == alone


def test_an_hour_before_and_after_a_training_was_measured():
    unknown = time_plan(3600.0, 0.0, Wishes(), Measured(), is_searching=True)
    assert [(phase.name, round(phase.seconds)) for phase in unknown.phases] == [
        (SEARCH, 2232),
        (FINAL, 1080),
        (ENSEMBLE, 108),
        (SCORING, 180),
    ]
    wishes = Wishes(folds=3)
    known = time_plan(3600.0, 600.0, wishes, Measured(300.0), is_searching=True)
    assert (known.folds, known.seconds(FINAL)) == (3, 3 * 375.0)
    slow = time_plan(3600.0, 600.0, wishes, Measured(1000.0), is_searching=True)
    assert slow.folds == 1, "three would take over 0.7 of 3,312 s"
    late = time_plan(3600.0, 3300.0, wishes, Measured(1000.0), is_searching=True)
    assert (late.folds, late.seconds(FINAL)) == (0, 0.0)
    over = time_plan(3600.0, 1800.0, Wishes(), Measured(200.0), is_searching=False)
    assert over.folds == 5, "folds are added, as long as there is time"
    assert plan_lines(over) == (
        "plan: 30.0 min of 60.0 min left",
        "  final training of 5 folds: 20.8 min",
        "  ensemble: 1.8 min",
        "  scoring and submission: 3.0 min",
    )
    assert plan_lines(late)[2] == "  no final training fits: the best trial is submitted: 0.0 min"


def test_trainings_at_once_take_one_rounds_time():
    assert final_s(4, Wishes(is_refitted=True), Measured(100.0, at_once=2)) == pytest.approx(1.25 * 300.0)


def test_extra_photos_cost_one_more_training_before_the_other_folds():
    compared = Wishes(is_compared=True)
    assert final_s(4, compared, Measured(100.0)) == pytest.approx(1.25 * 500.0)
    assert final_s(4, compared, Measured(100.0, at_once=2)) == pytest.approx(1.25 * 300.0), "two, then three"
    assert final_s(1, compared, Measured(100.0, at_once=2)) == pytest.approx(1.25 * 100.0)


def test_pseudo_labels_cost_all_folds_once_more_the_first_before_the_others():
    second = Wishes(is_pseudo=True, is_refitted=True)
    assert final_s(3, second, Measured(100.0)) == pytest.approx(1.25 * 700.0)
    assert final_s(3, second, Measured(100.0, at_once=2)) == pytest.approx(1.25 * 500.0), "two, one, one, one, one"
    assert final_s(1, Wishes(is_pseudo=True), Measured(100.0)) == pytest.approx(1.25 * 200.0)


def test_trainings_with_pseudo_labels_take_longer_by_their_photos():
    second, one_to_one = Wishes(is_pseudo=True), Measured(100.0, train_share=0.75, pseudo_share=1.0)
    first_s, photos_s = 100.0 * (3 - 2 / 4) / 2.5, 100.0 * 3 / 2.5
    assert final_s(4, second, one_to_one) == pytest.approx(1.25 * (8 * first_s + 4 * photos_s))
    side_by_side = replace(one_to_one, at_once=2)
    assert final_s(4, second, side_by_side) == pytest.approx(1.25 * (5 * first_s + 3 * photos_s))
    refitted = replace(second, is_refitted=True)
    assert final_s(4, refitted, one_to_one) == pytest.approx(1.25 * (8 * first_s + 5 * photos_s + photos_s))
    assert final_s(4, Wishes(), one_to_one) == final_s(4, Wishes(), replace(one_to_one, pseudo_share=0.0))
    assert 100.0 * fold_share(4, 0.75, pseudo_share=1.0) == pytest.approx(first_s + photos_s)
    assert fold_share(1, None, pseudo_share=0.5) == 1.5


def test_a_refit_without_folds_is_one_training_unless_photos_are_measured_first():
    assert final_s(1, Wishes(is_refitted=True), Measured(100.0)) == pytest.approx(1.25 * 100.0)
    measured = Wishes(is_refitted=True, is_compared=True)
    assert final_s(1, measured, Measured(100.0)) == pytest.approx(1.25 * 300.0)
    assert final_s(1, Wishes(is_refitted=True, is_pseudo=True), Measured(100.0)) == pytest.approx(1.25 * 300.0)


@given(TOTALS, st.floats(0.0, 1.0), WISHES, MEASURED)
def test_folds_beyond_those_asked_for_yield_to_a_training_of_another_backbone(total, used, wishes, measured):
    alone = time_plan(total, used * total, wishes, measured, is_searching=False)
    plan = time_plan(total, used * total, replace(wishes, has_other=True), measured, is_searching=False)
    if wishes.is_refitted:
        assert plan == alone, "such a model has no out-of-fold photos"
        return
    single = time_plan(total, used * total, Wishes(most_folds=1), measured, is_searching=False)
    room = single.left_s - single.seconds(ENSEMBLE) - single.seconds(SCORING)

    def needed(folds):
        both = folds + fewest(wishes)
        trained = final_s(folds, wishes, measured) + final_s(fewest(wishes), wishes, measured)
        return trained + more_scoring_s(total, both, 1, measured)

    if wishes.folds >= fewest(wishes) and needed(wishes.folds) <= room:
        assert plan.folds >= wishes.folds
        assert needed(plan.folds) <= room
    elif plan.folds < max(fewest(wishes), wishes.folds):
        assert plan == alone, "no other one fits"
    assert plan.folds <= alone.folds


@given(TOTALS, WISHES, MEASURED)
def test_a_search_leaves_time_for_another_backbone_if_enough_remains_for_itself(total, wishes, measured):
    alone = time_plan(total, 0.0, wishes, measured, is_searching=True)
    plan = time_plan(total, 0.0, replace(wishes, has_other=True), measured, is_searching=True)
    assert plan.folds == alone.folds
    reserved = plan.seconds(FINAL) - alone.seconds(FINAL)
    assert not reserved or plan.seconds(SEARCH) >= 0.08 * total * (1 - 1e-9)
    assert plan.seconds(SEARCH) == pytest.approx(alone.seconds(SEARCH) - reserved, abs=1e-6)
    if measured.training_s is None or not reserved:
        return
    most = max(wishes.folds, plan.folds + fewest(wishes))
    more = more_scoring_s(total, most, wishes.folds, measured)
    assert reserved == pytest.approx(min(final_s(fewest(wishes), wishes, measured) + more, alone.seconds(SEARCH)))
    assert plan.seconds(FINAL) <= 0.8 * total * (1 + 1e-9)


@given(TOTALS, st.floats(0.0, 1.0), WISHES, MEASURED)
def test_a_training_beside_fits_before_ensemble_and_scoring(total, used, wishes, measured):
    plan = with_trainings_beside(time_plan(total, used * total, wishes, measured, is_searching=False))
    assert sum(phase.seconds for phase in plan.phases) == pytest.approx(plan.left_s, abs=1e-6)
    folds, most = folds_beside(plan, wishes, measured), max(wishes.folds, wishes.most_folds)
    assert folds == 0 or fewest(wishes) <= folds <= most

    def needed(count):
        predicted_s = (measured.predicted_s or 0.0) + count * (measured.model_s or 0.0)
        scoring = max(0.05 * total, 30.0, 30.0 + 1.1 * predicted_s)
        more = max(0.0, scoring - scoring_s(total, 1, measured))
        return final_s(count, wishes, measured, margin=1.1) + more

    if folds:
        assert needed(folds) <= plan.seconds(FINAL)
    if folds and needed(folds) and total >= 100.0:
        most_models = max(1, 2 * plan.folds)  # of the study's own final training and of one beside it
        assert plan.seconds(SCORING) >= scoring_s(total, 1, measured), "none is cut short"
        assert plan.seconds(SCORING) <= scoring_s(total, most_models, measured)
    if max(fewest(wishes), folds + 1) <= most:
        assert needed(max(fewest(wishes), folds + 1)) > plan.seconds(FINAL)


def test_a_training_beside_that_only_waits_for_its_scores_fits_after_the_hours():
    plan = with_trainings_beside(time_plan(600.0, 700.0, Wishes(), Measured(0.0), is_searching=False))
    assert folds_beside(plan, Wishes(), Measured(0.0), begun=4) == 4
    with_photos = Measured(0.0, model_s=20.0, predicted_s=80.0)
    assert folds_beside(plan, Wishes(), with_photos, begun=4) == 0, "its models have all photos to predict"


def test_time_that_is_left_over_goes_to_another_backbone():
    wishes = Wishes(folds=4, has_other=True)
    plan = time_plan(2400.0, 800.0, wishes, Measured(200.0, at_once=2), is_searching=False)
    assert (plan.folds, plan.seconds(FINAL)) == (5, 3 * 250.0), "and four of another backbone"
    late = time_plan(2400.0, 1100.0, wishes, Measured(200.0, at_once=2), is_searching=False)
    assert (late.folds, late.seconds(FINAL)) == (4, 500.0), "and four; with five none"
    no_other = time_plan(2400.0, 1100.0, Wishes(folds=4), Measured(200.0, at_once=2), is_searching=False)
    assert no_other.folds == 5
    later = time_plan(2400.0, 1450.0, wishes, Measured(200.0, at_once=2), is_searching=False)
    assert later.folds == 5, "758 s: too few for four and three of another backbone"
    early = time_plan(2400.0, 300.0, wishes, Measured(200.0, at_once=2), is_searching=True)
    assert early.seconds(FINAL) == 500.0 + 500.0
    short = time_plan(1300.0, 100.0, wishes, Measured(200.0, at_once=2), is_searching=True)
    assert (short.folds, short.seconds(FINAL)) == (4, 1000.0)
    shorter = time_plan(1240.0, 100.0, wishes, Measured(200.0, at_once=2), is_searching=True)
    assert (shorter.folds, shorter.seconds(FINAL)) == (4, 500.0), "more than 80 % would be too much"
    after = with_trainings_beside(replace(plan, spent_s=1100.0))
    assert after.seconds(FINAL) == 2400.0 - 1100.0 - 72.0 - 120.0
    assert plan_lines(after)[1] == "  final trainings of other backbones, as far as they fit: 18.5 min"
    assert folds_beside(after, wishes, Measured(250.0, at_once=2)) == 5
    assert folds_beside(after, wishes, Measured(500.0, at_once=2)) == 4, "1,100 of 1,108 s at the measured pace"
    assert folds_beside(after, wishes, Measured(505.0, at_once=2)) == 0, "two would train on half of the photos each"
    assert folds_beside(after, replace(wishes, folds=2), Measured(505.0, at_once=2)) == 2
