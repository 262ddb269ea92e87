"""The replays of rules of choice: on trainings made by hand, and that the shipped rule is the program's own."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.choice_picks import pick_rows
from benchmarks.choice_rules import RULES, SHIPPED, TODAY
from benchmarks.choice_shrinkage import _predicted_without, features, shrunk
from benchmarks.choice_tables import TABLES, Training, load_trainings
from benchmarks.choices import PAIR, SINGLE, better_half, chosen_without, gain, scores
from benchmarks.kept_promises import by_configuration, holdout_answers, kept_of, kept_of_several, out_of_fold, prior_of
from benchmarks.truth import rows
from benchmarks.truth_pairs import pair_rows
from benchmarks.truth_replay import SEED, Told, _trained, by_cell, kept_promises, priors_without, replay, replays
from carcls.scoring.averages import KEPT, KEPT_OF_SEVERAL, promised
from carcls.scoring.choices import Kept, kept_epoch, scaled
from carcls.scoring.expectation import of_winner
from carcls.scoring.gains import Normal
from carcls.scoring.metrics import accuracy
from search.simulator.curves import Curve, CurvePoint

CLASSES, VALIDATION, HOLDOUT = 3, 60, 90
LABELS, HOLDOUT_LABELS = np.arange(VALIDATION) % CLASSES, np.arange(HOLDOUT) % CLASSES


def said(seed: int, labels: np.ndarray, sure: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), CLASSES)) + sure * np.eye(CLASSES)[labels]
    raised = np.exp(logits)
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def training(photos: str, configuration: int, fold: int, sure: list[float]) -> Training:
    """An epoch for each degree of knowledge; every second one ends a stage."""
    seed = 1_000 * configuration + 100 * fold + len(photos)
    points = [CurvePoint(epoch // 2, epoch % 2 == 1, 0.5, 1.0, 0.5, 1.0, 2.0, None, None) for epoch in range(len(sure))]
    own = {name: (said(seed + 7, LABELS, sure[-1]), said(seed + 8, HOLDOUT_LABELS, sure[-1])) for name in AVERAGES}
    return Training(
        photos=photos,
        kind="short",
        configuration=configuration,
        fold=fold,
        curve=Curve({"x": configuration}, 0, len(sure) // 2, tuple(points)),
        validation=np.stack([said(seed + at, LABELS, one) for at, one in enumerate(sure)]),
        holdout={at + 1: said(seed + 50 + at, HOLDOUT_LABELS, one) for at, one in enumerate(sure)},
        averages=own,
        validation_labels=LABELS,
        holdout_labels=HOLDOUT_LABELS,
    )


AVERAGES = ("ema-0.96", "ema-0.99", "last-3", "last-5")
TRAININGS = tuple(
    training(photos, configuration, fold, [0.2, 0.6, 1.0 + 0.2 * configuration, 1.4 + 0.2 * configuration])
    for photos in ("a", "bb")
    for configuration in range(4)
    for fold in range(3)
)


@pytest.mark.parametrize("name", RULES)
def test_each_rule_answers_for_every_training(name) -> None:
    for one in TRAININGS:
        assert RULES[name](one).shape == (HOLDOUT, CLASSES)


def test_the_shipped_rule_keeps_what_the_program_keeps() -> None:
    for one in TRAININGS:
        epoch = kept_epoch([Kept(each.ends_stage, each.scaled.losses) for each in one.candidates])
        assert RULES[SHIPPED](one) is one.holdout[epoch]


def test_cells_are_folds_and_an_average_is_of_two() -> None:
    found = scores(TRAININGS, TODAY)
    assert set(found[SINGLE]) == {(photos, str(fold)) for photos in ("a", "bb") for fold in range(3)}
    assert set(found[PAIR]) == {(photos, pair) for photos in ("a", "bb") for pair in ("0+1", "0+2", "1+2")}
    assert np.mean(list(found[PAIR].values()), axis=0)[0] > np.mean(list(found[SINGLE].values()), axis=0)[0]


def test_gains_are_differences_of_cells() -> None:
    better = {("a", "0"): (0.6, 1.0), ("a", "1"): (0.8, 0.8)}
    found = gain(better, {("a", "0"): (0.5, 1.1), ("a", "1"): (0.7, 0.7)})
    assert (found.accuracy, found.log_loss) == (pytest.approx(10.0), pytest.approx(0.0))
    assert found.log_loss_error == pytest.approx(0.1)
    assert not found.is_clear


def test_the_simplest_rule_near_the_best_is_chosen_without_the_left_out_set() -> None:
    def cells(gains: dict[str, float]):
        return {SINGLE: {(photos, str(fold)): (0.5, 1.0 - value) for photos, value in gains.items() for fold in (0, 1)}}

    scored = {
        TODAY: cells({"a": 0.0, "b": 0.0}),
        "one": cells({"a": 0.5, "b": 0.1}),
        "two": cells({"a": 0.1, "b": 0.5}),
    }
    assert chosen_without(scored, SINGLE, left_out="a") == "two"
    assert chosen_without(scored, SINGLE, left_out="b") == "one"


def test_the_better_half_is_by_validation() -> None:
    assert {one.configuration for one in better_half(TRAININGS)} == {2, 3}


def test_picks_are_listed_for_as_many_trials_as_there_are() -> None:
    text = "\n".join(pick_rows(TRAININGS))
    assert "the best of 4 trials" in text
    assert "the best of 8 trials" not in text
    assert "shrunk towards ridge" in text


def test_a_prediction_leaves_its_own_trial_out() -> None:
    rng = np.random.default_rng(0)
    params, scores = rng.normal(size=(1, 12, 3)), rng.normal(size=(1, 12))
    moved = scores.copy()
    moved[0, 4] += 5.0
    before, after = (_predicted_without(one, params) for one in (scores, moved))
    assert after[0, 4] == pytest.approx(before[0, 4])
    assert after[0, 3] != pytest.approx(before[0, 3])


def test_noisy_scores_are_shrunk_towards_what_the_parameters_say() -> None:
    rng = np.random.default_rng(0)
    params = rng.normal(size=(400, 12, 2))
    truth = params[:, :, 0]
    scores = truth + rng.normal(0.0, 0.7, truth.shape)
    found = shrunk(scores, np.full(truth.shape, 0.49), params)
    assert np.mean((found - truth) ** 2) < 0.8 * np.mean((scores - truth) ** 2)
    np.testing.assert_allclose(shrunk(scores, np.full(truth.shape, 1e-12), params), scores, atol=1e-6)


def test_parameters_become_columns() -> None:
    assert features(TRAININGS[:9]).shape == (9, 1)


def test_replayed_searches_tell_of_one_model_and_of_the_average() -> None:
    cells = replays(by_cell(TRAININGS))
    told = list(replay(cells, ("a", "short", 0), 4, searches=3))
    assert len(told) == 18
    assert {one.cell for one in told} == {("a", "short", 0)}
    ways = list(dict.fromkeys(one.way for one in told))
    assert [way.partition(":")[0] for way in ways] == ["one model"] * 2 + ["three folds averaged"] * 4
    raw = [one.expected for one in told if "raw" in one.way]
    corrected = [one.expected for one in told if one.way == "one model: expectation"]
    assert np.mean(corrected) < np.mean(raw)


def test_a_replayed_search_is_told_what_a_real_one_is() -> None:
    cells = by_cell(TRAININGS)
    pool = cells[("a", "short", 0)]
    told = next(replay(replays(cells), ("a", "short", 0), 4, searches=1))
    expected = of_winner([_trained(training) for training in pool], seed=SEED)
    assert (told.expected, told.low, told.high) == (expected.accuracy, expected.low, expected.high)


def test_bias_is_over_splits_and_coverage_over_searches() -> None:
    def one(cell: int, expected: float, low: float, high: float, *, photos: str = "a", kind: str = "short") -> Told:
        said = ("w", (photos, kind, cell), expected, low, high)
        return Told(*said, holdout=0.5, holdout_variance=0.0, variance=0.03**2)

    some = [
        one(0, 0.6, 0.4, 0.8),
        one(0, 0.6, 0.4, 0.8, kind="full"),
        one(1, 0.48, 0.45, 0.55),
        one(1, 0.52, 0.51, 0.53),
    ]
    [(way, count, bias, splits, sets, by_photos, size, covered)] = rows(some)
    assert (way, count, bias, size, covered) == ("w", 4, "+5.00", "6.00", "75.0")
    assert (splits, sets, by_photos) == ("5.00", "nan", "3.00"), "more searches of the same photos make nothing surer"
    [(_, _, bias, splits, sets, by_photos, _, _)] = rows([*some, one(0, 0.59, 0.4, 0.8, photos="b")])
    assert (bias, splits, sets, by_photos) == ("+7.00", "3.18", "2.00", "2.12"), "each data set counts once"


def test_what_is_kept_brings_the_promises_of_a_data_set_to_their_mean_gain() -> None:
    some = [one for one in TRAININGS if one.photos == "a"]
    found = kept_of(some)
    told, gained = [], []
    for members in by_configuration(some).values():
        factor, answers = scaled(*out_of_fold(members)).factor, holdout_answers(members)
        for folds in ([0, 1], [0, 2], [1, 2], [0, 1, 2]):
            together = answers[folds]
            single = float((together.argmax(axis=2) == HOLDOUT_LABELS).mean())
            reached = accuracy(together.mean(axis=0), HOLDOUT_LABELS)
            told.append(found.mean * promised(together, factor).mean)
            gained.append(np.log(reached / (1 - reached)) - np.log(single / (1 - single)))
    assert np.mean(told) == pytest.approx(np.mean(gained))
    assert found.sd > 0


def test_a_prior_comes_from_other_data_sets_and_is_never_surer_than_they() -> None:
    prior = prior_of([Normal(1.2, 0.3), Normal(1.8, 0.3)])
    assert (prior.mean, prior.sd) == (pytest.approx(1.5), pytest.approx((0.18 * 1.5) ** 0.5))
    assert prior_of([Normal(1.5, 0.3), Normal(1.5, 0.3)]).sd == pytest.approx((0.09 * 1.5) ** 0.5)
    measured = {"a": Normal(1.2, 0.1), "b": Normal(1.8, 0.1)}
    assert priors_without(measured)["a"].mean == 1.8
    assert priors_without({"a": Normal(9.0, 0.1)})["a"] == KEPT


def test_the_shipped_prior_is_that_of_the_committed_tables() -> None:
    measured = prior_of(list(kept_promises(load_trainings(Path(TABLES))).values()))
    assert KEPT.mean == pytest.approx(measured.mean, abs=0.05)
    assert KEPT.sd == pytest.approx(measured.sd, abs=0.05)


def test_of_two_configurations_a_member_is_one_model_of_each() -> None:
    first, second = ([training("a", number, fold, [0.1, 0.2, 0.3, 0.4]) for fold in range(3)] for number in range(2))
    found = kept_of_several([*first, *second])
    (said, labels), (other, _) = out_of_fold(first), out_of_fold(second)
    members = (holdout_answers(first) + holdout_answers(second)) / 2
    promise = promised(members, scaled((said + other) / 2, labels).factor).mean
    single = float((members.argmax(axis=2) == HOLDOUT_LABELS).mean())
    reached = accuracy(members.mean(axis=0), HOLDOUT_LABELS)
    gained = np.log(reached / (1 - reached)) - np.log(single / (1 - single))
    assert found.mean == pytest.approx(gained / promise)
    assert found.sd > 0


def test_pairs_are_told_by_half_of_their_holdout() -> None:
    some = [
        training(photos, number, fold, [0.1, 0.2, 0.3, 0.4])
        for photos in ("a", "bb")
        for number in range(3)
        for fold in range(3)
    ]
    first, second, mean = pair_rows(some, kept_promises(some, kept_of_several))
    assert [row[:2] for row in (first, second, mean)] == [("a", 3), ("bb", 3), ("mean", 6)]
    bias, single = (float(str(first[at])) for at in (2, 3))
    assert single < -5.0, "the average is better than one model of each"
    assert abs(bias) < abs(single) / 2


def test_the_shipped_prior_of_several_is_that_of_the_committed_tables() -> None:
    measured = prior_of(list(kept_promises(load_trainings(Path(TABLES)), kept_of_several).values()))
    assert KEPT_OF_SEVERAL.mean == pytest.approx(measured.mean, abs=0.05)
    assert KEPT_OF_SEVERAL.sd == pytest.approx(measured.sd, abs=0.05)


def test_the_committed_tables_are_read() -> None:
    found = load_trainings(Path(TABLES))
    assert {one.photos for one in found} >= {"bodies9", "cars10"}
    for one in found:
        assert len(one.validation) == len(one.curve.points)
        assert one.validation.shape[1] == len(one.validation_labels)
        ends = [epoch for epoch, point in enumerate(one.curve.points, start=1) if point.stage_ended]
        assert set(ends) <= set(one.holdout)
