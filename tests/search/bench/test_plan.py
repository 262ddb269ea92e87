"""What `bench` measures next."""

from dataclasses import replace

from search.bench.plan import Wishes, expected_s, next_measurement
from search.bench.results import Feeding, Measured, Training
from tests.search.bench.helpers import feeding, training

WISHES = Wishes(
    models=(("MobileNetV2", 1.0), ("Xception", 1.0)),
    sizes=(224, 64),
    precisions=("auto",),
    batches=(32, 64, 128),
    at_once=(1, 2),
    processes=(2,),
    policy="medium",
    threads=2,
)


def _all(rates: dict[int, float], *, wishes: Wishes = WISHES, left_s: float = 1e9) -> list[Training | Feeding]:
    """Everything that is measured if a batch trains at these rates; a batch without one does not fit."""
    done: list[Measured] = []
    while (what := next_measurement(wishes, done, left_s=left_s)) is not None:
        if isinstance(what, Feeding):
            done.append(replace(feeding(900.0), what=what))
        else:
            rate = rates.get(what.batch_size, 0.0)
            done.append(replace(training(rate, state="measured" if rate else "out_of_memory"), what=what))
    return [one.what for one in done]


def test_every_backbone_comes_before_other_sizes_and_batches() -> None:
    found = _all({32: 100.0, 64: 130.0, 128: 131.0})
    first = Training("MobileNetV2", 1.0, 224, "auto", 32, threads=2)
    assert found == [
        first,
        Training("Xception", 1.0, 224, "auto", 32, threads=2),
        Feeding(224, "medium", 2),
        replace(first, at_once=2, threads=1),
        replace(first, image_size=64),  # Xception needs 71 px
        replace(first, batch_size=64),
        replace(first, batch_size=128),
        Training("Xception", 1.0, 224, "auto", 64, threads=2),
        Training("Xception", 1.0, 224, "auto", 128, threads=2),
        replace(first, image_size=64, batch_size=64),
        replace(first, image_size=64, batch_size=128),
    ]


def test_a_larger_batch_is_tried_only_after_a_gain() -> None:
    sizes = {one.batch_size for one in _all({32: 100.0, 64: 104.0, 128: 300.0}) if isinstance(one, Training)}
    assert sizes == {32, 64}


def test_no_batch_is_tried_above_one_that_does_not_fit() -> None:
    sizes = {one.batch_size for one in _all({32: 100.0, 128: 300.0}) if isinstance(one, Training)}
    assert sizes == {32, 64}


def test_the_smallest_batch_is_halved_until_it_fits() -> None:
    wishes = replace(WISHES, models=(("MobileNetV2", 1.0),), sizes=(224,), at_once=(1,))
    sizes = [one.batch_size for one in _all({8: 20.0}, wishes=wishes) if isinstance(one, Training)]
    assert sizes == [32, 16, 8]
    nothing = [one.batch_size for one in _all({}, wishes=wishes) if isinstance(one, Training)]
    assert nothing == [32, 16, 8, 4, 2, 1]


def test_only_what_is_expected_to_end_in_time_is_measured() -> None:
    assert next_measurement(WISHES, [], left_s=0.0) is None
    done = [training(100.0, seconds=40.0)]
    xception = replace(done[0].what, backbone="Xception")
    assert next_measurement(WISHES, done, left_s=40.0) == xception
    assert next_measurement(WISHES, done, left_s=39.0) == Feeding(224, "medium", 2), "the input is not known to be slow"
    done = [*done, replace(done[0], what=xception), feeding(900.0)]
    assert next_measurement(WISHES, done, left_s=79.0) == replace(done[0].what, image_size=64), "two at once take 80 s"


def test_expected_seconds_follow_area_and_number_of_trainings() -> None:
    done = [training(100.0, seconds=12.0)]
    assert isinstance(done[0].what, Training)
    assert expected_s(replace(done[0].what, image_size=448), done) == 48.0
    assert expected_s(replace(done[0].what, image_size=112), done) == 12.0, "most of it is the start of a process"
    assert expected_s(replace(done[0].what, at_once=4), done) == 48.0
