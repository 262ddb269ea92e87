"""What TensorBoard reads of a search as a whole, and the pictures of its best models."""

from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.policy.records import TrialState
from search.progress.event_files import EventLog
from search.report.page import write_study_report
from search.report.summary_events import pictured_trials, search_points
from tests.helpers.search.made_up_study import made_up_study
from tests.helpers.search.trial_builders import climb, trial


def read(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    found.Reload()
    return found


def values(events: EventAccumulator, tag: str) -> list[float]:
    return [one.tensor_proto.float_val[0] for one in events.Tensors(tag)]


def test_a_report_leaves_a_few_runs_and_a_second_one_replaces_them(tmp_path):
    folder, experiment = made_up_study(tmp_path, trials=7, per_class=10)
    write_study_report(folder, experiment)
    write_study_report(folder, experiment)
    runs = sorted(path.name for path in folder.summary.iterdir())
    assert "search" in runs
    assert "trial-0000" in runs, "the baseline has pictures"
    assert 2 <= len(runs) <= 6
    assert all(len(list((folder.summary / run).iterdir())) == 1 for run in runs)
    shown = read(folder.summary / "trial-0000")
    assert set(shown.Tags()["images"]) == {
        "predictions/confusion", "predictions/reliability", "predictions/mistakes", "augmented",
    }  # fmt: skip
    picture = shown.Images("augmented")[0]
    assert (picture.width, picture.height) == (6 * 102 + 6, 4 * 114 + 6)
    curves = read(folder.summary / "search")
    assert values(curves, "trials_that_ended/1_head")[-1] == 6.0, "one of seven trials failed before"
    assert max(values(curves, "search/trainings_at_once")) == 2.0


def test_curves_of_the_search_by_hand():
    records = [
        trial(0, TrialState.COMPLETE, climb([0.5], [0.4], [0.9])),
        trial(1, TrialState.PRUNED, climb([0.7])),
        replace(trial(2, TrialState.FAIL, climb([0.99])), cause="broken"),
    ]
    took = records[0].reports[0].seconds.total
    times = {0: {1: 100 + took, 2: 100 + 2 * took, 3: 100 + 3 * took}, 1: {1: 101 + took}, 2: {}}
    points = {}
    for one in search_points(records, times):
        points.setdefault(one.tag, []).append((one.step, round(one.value, 4)))
    assert points["search/best_accuracy_by_second"] == [(4, 0.5), (5, 0.7), (8, 0.7), (11, 0.9)]
    assert [value for _, value in points["search/best_accuracy_by_trained_second"]] == [0.5, 0.7, 0.7, 0.9]
    assert points["search/best_accuracy_by_trained_second"][-1][0] == round(4 * took)
    assert [value for _, value in points["trials_that_ended/1_head"]] == [1, 2]
    assert [value for _, value in points["search/trainings_at_once"]] == [1, 2, 1, 0]
    assert search_points(records, {}) == []


def test_long_curves_are_thinned_and_keep_their_end():
    many = [trial(n, TrialState.PRUNED, climb([n / 3000])) for n in range(3000)]
    times = {n: {1: 1000.0 + 10 * n} for n in range(3000)}
    points = [one for one in search_points(many, times) if one.tag == "search/best_accuracy_by_second"]
    assert 200 <= len(points) <= 400
    assert points[-1].value == pytest.approx(2999 / 3000)


def test_pictures_are_of_the_winner_and_the_baseline():
    records = [trial(n, TrialState.COMPLETE, climb([0.1], [0.2], [0.5 + n / 100])) for n in range(9)]
    assert [one.number for one in pictured_trials(records)] == [8, 0]
    assert pictured_trials([]) == []


def test_only_png_files_are_pictures(tmp_path):
    with pytest.raises(ValueError, match="expected a PNG"):
        EventLog(tmp_path).image("x", bytes(np.zeros(100, np.uint8)))
