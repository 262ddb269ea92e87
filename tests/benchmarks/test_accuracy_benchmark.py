"""The comparison of arms, from results made by hand, and all arms on a tiny search."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy.arms import ARMS, DEFAULT, Options, run_arm
from benchmarks.accuracy.judging import Answers, blended, submit
from benchmarks.accuracy.paired import Difference, cost_rows, of_data_set, over_data_sets, rows, verdict
from benchmarks.accuracy.recipes import FORMER, SMALL_DATA, SMALL_STAGED, rectangle
from benchmarks.accuracy.result import Judged, Result, judged, read_results, result_path
from benchmarks.accuracy.steps import Settings
from carcls.dataset.loading import load_unlabelled
from search.experiment.experiment import load
from tests.helpers.search.tiny import CLASSES, write_tiny
from tests.helpers.search.trained_study import TWO_WIDTHS

ROOT = Path(accuracy.__file__).resolve().parents[2]


def made_up(hits: list[int], *, first: int = 0, losses: list[float] | None = None) -> Judged:
    ids = tuple(str(first + place) for place in range(len(hits)))
    told = tuple(losses or [0.1 if hit else 2.0 for hit in hits])
    return Judged(ids, ids, tuple(hits), told, told)


def result(arm: str, seed: int, held_out: Judged | None, *, photos: str = "a") -> Result:
    return Result(photos, seed, arm, held_out, None, 60.0, 5.0)


def test_a_difference_and_its_error_are_those_of_paired_photos() -> None:
    arm, base = made_up([1, 1, 1, 0, 1, 1, 1, 1]), made_up([1, 0, 1, 1, 0, 1, 0, 1])
    found = of_data_set([(arm, base)], "hits")
    each = np.array(arm.hits) - np.array(base.hits)
    assert found.mean == pytest.approx(each.mean())
    assert found.error == pytest.approx(each.std(ddof=1) / 8**0.5)


def test_the_same_photo_with_two_seeds_makes_nothing_surer() -> None:
    pair = made_up([1, 1, 1, 0]), made_up([1, 0, 0, 1])
    once, twice = of_data_set([pair], "hits"), of_data_set([pair, pair], "hits")
    assert twice == Difference(pytest.approx(once.mean), pytest.approx(once.error))
    other = made_up([1, 1, 1, 0], first=4), made_up([1, 0, 0, 1], first=4)
    assert of_data_set([pair, other], "hits").error < once.error


def test_arms_judged_by_other_photos_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different photos"):
        of_data_set([(made_up([1, 0]), made_up([1, 0], first=1))], "hits")


def test_data_sets_weigh_alike() -> None:
    found = over_data_sets([Difference(0.02, 0.03), Difference(0.04, 0.04)])
    assert found == Difference(pytest.approx(0.03), pytest.approx(0.025))


@pytest.mark.parametrize(
    ("hits", "losses", "expected"),
    [
        ((0.03, 0.01), (0.0, 1.0), "helps"),
        ((-0.03, 0.01), (-0.5, 0.1), "hurts"),
        ((0.01, 0.01), (-0.1, 0.04), "helps log-loss only"),
        ((0.01, 0.01), (0.1, 0.04), "hurts log-loss only"),
        ((0.01, 0.01), (0.01, 0.04), "not shown to help"),
    ],
)
def test_a_verdict_needs_two_errors(hits, losses, expected) -> None:
    fields = {"hits": Difference(*hits), "losses": Difference(9.0, 1.0), "scaled_losses": Difference(*losses)}
    assert verdict(fields) == expected


def test_the_table_has_each_arm_and_all_data_sets() -> None:
    base, better = [1, 0] * 30, [1] * 50 + [0] * 10
    results = [
        *(result("folds", 0, made_up(base), photos=photos) for photos in "ab"),
        *(result("refit", 0, made_up(better), photos=photos) for photos in "ab"),
        result("refit", 1, made_up(better)),
        result("soup", 0, None),
    ]
    told = list(rows(results, "held_out"))
    assert [row[0] for row in told] == ["a, folds", "a, refit", "b, folds", "b, refit", "all, refit"]
    assert told[0][3:] == ("0.5000", "1.0500", "", "", "", "compared with")
    assert told[1][1] == 1, "seed 1 has nothing to be compared with"
    assert told[1][5].startswith("+33.33")
    assert told[-1][-1] == "helps"
    assert list(rows(results, "out_of_fold")) == []
    assert ("a, refit", 2, "60") in [row[:3] for row in cost_rows(results)]


def test_results_are_read_back(tmp_path) -> None:
    said = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    own = judged(["1", "2", "3"], ["1", "1", "3"], said, np.array([0, 1, 1]))
    assert own.hits == (1, 1, 0)
    np.testing.assert_allclose(own.losses, -np.log([0.8, 0.6, 0.3]), atol=1e-5)
    assert own.scaled_log_loss <= own.log_loss
    one = Result("a", 2, "folds", own, None, 1.5, None, "told")
    one.write(tmp_path)
    assert result_path(tmp_path, "a", 2, "folds").is_file()
    assert read_results(tmp_path) == [one]
    with pytest.raises(ValueError, match="not finite"):
        judged(["1"], ["1"], np.array([[np.nan, 0.2]]), np.array([0]))


def test_a_blend_is_the_mean_of_probabilities_at_the_sum_of_costs() -> None:
    def answers(share: float) -> Answers:
        said = np.array([[share, 1 - share]])
        return Answers(said, ("9.jpg",), ("a", "b"), 2.0, said, ("1",), np.array([0]), ("1",))

    found = blended([answers(0.2), answers(0.6)])
    np.testing.assert_allclose(found.test, [[0.4, 0.6]])
    np.testing.assert_allclose(found.held_out, [[0.4, 0.6]])
    assert found.ms == 4.0
    assert found.judged().losses == (pytest.approx(-np.log(0.4), abs=1e-5),)


def test_rectangles_have_the_pixels_of_the_square() -> None:
    assert rectangle(224) == (192, 256)
    assert rectangle(32) == (32, 32)
    for side in (160, 224, 300, 384):
        height, width = rectangle(side)
        assert 0.9 < height * width / side**2 < 1.1
        assert 1.2 < width / height < 1.45


def test_the_small_data_arm_is_the_recorded_recipe() -> None:
    file = ROOT / "experiments" / "lab_recipes.yaml"
    recorded = load(file).bind(load(file).baseline)
    changed = load(file, [*SMALL_DATA]).bind({})
    *_, own = recorded.stages
    *others, last = changed.stages
    longer = last.model_copy(update={"epochs": own.epochs})
    assert changed.model_copy(update={"stages": (*others, longer)}) == recorded
    staged = load(file, [*SMALL_STAGED]).bind({})
    assert staged.model_copy(update={"stages": changed.stages}) == changed
    assert staged.total_epochs == changed.total_epochs
    assert [stage.unfreeze for stage in staged.stages] == [0.0, 0.5, 0.75, 1.0]


def test_the_shipped_final_training_is_the_staged_arm_but_for_the_first_blocks(tmp_path) -> None:
    file = ROOT / "experiments" / "cars10.yaml"
    shipped, former = load(file), load(file, [FORMER])
    final = former.retrain_config(former.bind(former.baseline))
    assert (final.batch_size, final.layer_decay, final.optimizer.kind) == (32, 1.0, "adam")
    assert [stage.epochs for stage in final.stages] == [4, 3, 1, 18]
    path = tmp_path / "recipe.yaml"
    tree = {"name": "recipe", "data": {"root": str(tmp_path)}, "train": final.model_dump(mode="json")}
    path.write_text(json.dumps(tree), encoding="utf-8")
    staged, now = load(path, SMALL_STAGED).bind({}), shipped.retrain_config(shipped.bind(shipped.baseline))
    assert [stage.unfreeze for stage in now.stages] == [0.0, 0.5, 0.75, 0.75]
    whole = now.stages[-1].model_copy(update={"unfreeze": 1.0})
    assert staged == now.model_copy(update={"stages": (*now.stages[:-1], whole)})
    assert shipped.folds == former.folds == 4


def test_arms_may_share_the_search_of_a_whole_run(tmp_path) -> None:
    file = tmp_path / "cars.yaml"
    shared = Settings(file, "cars10", tmp_path, 1, 0.0, 10.0, 100, tmp_path, of_hours=True)
    assert shared.study.root == tmp_path / "studies" / "cars10_seed1_hours"
    assert replace(shared, of_hours=False).study.root == tmp_path / "studies" / "cars10_seed1"
    with pytest.raises(SystemExit, match="run the arm hours first"):
        run_arm(shared, "folds", Options())


def test_a_submission_needs_no_shared_search(tmp_path) -> None:
    file = write_tiny(tmp_path, TWO_WIDTHS)
    settings = Settings(file, "data", tmp_path / "data", 0, 0.0, 10.0, 1, tmp_path / "work")
    ids = load_unlabelled(settings.root, processes=1, layout=load(file).data.layout).ids
    names = tuple(map(str, range(CLASSES)))
    said = np.eye(CLASSES)[np.arange(len(ids)) % CLASSES]
    submit(settings, Answers(said, tuple(ids), names, 1.0, None), tmp_path / "out" / "data_seed0_hours.csv")
    with (tmp_path / "out" / "data_seed0_hours.csv").open(encoding="utf-8") as lines:
        rows = {row["Id"]: row["Category"] for row in csv.DictReader(lines)}
    assert rows == {id_: names[place % CLASSES] for place, id_ in enumerate(ids)}


def test_arms_run_in_their_own_order_and_unknown_ones_are_refused(monkeypatch, capsys) -> None:
    assert set(ARMS) - set(DEFAULT) == {"hours"}
    monkeypatch.setattr(sys, "argv", ["accuracy", "--work", "w", "--arms", "refit,nonsense"])
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "no arm nonsense" in capsys.readouterr().err


def test_a_shared_final_training_cannot_be_changed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["accuracy", "--work", "w", "--of-hours", "--final", "retrain={folds: 3}"])
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "--final cannot change it" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.timeout(3600)
def test_all_arms_run_end_to_end_and_a_second_call_trains_nothing(tmp_path) -> None:
    file = write_tiny(tmp_path, TWO_WIDTHS.replace("retrain:\n", "retrain:\n  folds: 2\n"))
    work, submissions = tmp_path / "work", tmp_path / "submissions"
    command = [
        *(sys.executable, "-m", "benchmarks.accuracy", "--photos", "data", "--data", str(tmp_path)),
        *("--experiment", str(file), "--work", str(work), "--submissions", str(submissions)),
        *("--trials", "3", "--minutes", "60", "--branches", "2", "--final", ""),
    ]
    ran = subprocess.run([*command, "--arms", "folds"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "\ndata_seed0, folds\n" not in ran.stdout, "it has its result"
    results = {one.arm: one for one in read_results(work)}
    assert set(results) == set(DEFAULT)
    held_out = {one.held_out.ids for one in results.values()}
    assert len(held_out) == 1
    assert len(next(iter(held_out))) > 0
    folded = {arm for arm, one in results.items() if one.out_of_fold is not None}
    assert folded == {
        "folds",
        "configurations",
        "rectangles",
        "layer_decay",
        "small_data",
        "small_staged",
        "two_recipes",
    }
    assert results["with_refit"].trained_s == results["refit"].trained_s
    assert results["two_recipes"].ms_per_photo == pytest.approx(
        results["folds"].ms_per_photo + results["small_data"].ms_per_photo
    )
    assert not set(results["folds"].out_of_fold.ids) & set(next(iter(held_out)))
    sample = list(csv.reader((tmp_path / "data" / "sample-submission.csv").open(encoding="utf-8")))
    for arm in DEFAULT:
        written = list(csv.reader((submissions / f"data_seed0_{arm}.csv").open(encoding="utf-8")))
        assert [row[0] for row in written] == [row[0] for row in sample]
    before = {path: path.stat().st_mtime_ns for path in (work / "results").iterdir()}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "$ python" not in ran.stdout
    assert {path: path.stat().st_mtime_ns for path in (work / "results").iterdir()} == before
    assert json.loads(next(iter(before)).read_text(encoding="utf-8"))["photos"] == "data"
    for arm in DEFAULT:
        assert f"data, {arm} " in ran.stdout
