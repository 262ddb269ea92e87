import os

import pytest

from carcls.config import TrainConfig
from search.driver.guard import descendants
from search.errors import ClusterError
from search.on_ray.cluster.nodes import Node
from search.on_ray.cluster.warmup import distinct_weights, start_check

HERE = Node("0", "here", 1.0, 0.0)


def config(backbone: str, weights: str, **changes) -> TrainConfig:
    stage = {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-3}
    values = {"backbone": backbone, "weights": weights, "image_size": 32, "batch_size": 4, "stages": [stage]}
    return TrainConfig.model_validate(values | changes)


def test_each_backbone_width_and_weights_is_checked_once() -> None:
    first = config("MobileNet", "imagenet")
    others = [
        config("MobileNet", "imagenet", batch_size=8),
        config("MobileNet", "imagenet", alpha=0.5),
        config("MobileNetV2", "imagenet"),
        config("MobileNet", "/weights.h5"),
    ]
    assert distinct_weights([first, *others]) == (first, *others[1:])


def test_random_weights_need_no_file() -> None:
    assert distinct_weights([config("MobileNet", "none")]) == ()


def test_without_files_the_framework_is_checked_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A missing backend would kill each trial; here it is one line before the first."""
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(ClusterError) as caught, start_check((), here=True) as check:
        check([HERE])
    assert str(caught.value).startswith("here: Keras cannot be loaded: ValueError: Unable to import backend : theano")
    assert "(backend 'theano', by the environment's KERAS_BACKEND)" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_every_problem_is_reported_by_node(tmp_path) -> None:
    """The check runs in its own process, which starts early."""
    (tmp_path / "torn.h5").write_bytes(b"torn")
    configs = [config("MobileNet", str(tmp_path / name)) for name in ("missing.h5", "torn.h5")]
    with pytest.raises(ClusterError) as caught, start_check(configs, here=True) as check:
        check([HERE])
    first, *problems = str(caught.value).splitlines()
    assert first == "the backbones' weights cannot be used:"
    assert [problem.startswith("  here: ") for problem in problems] == [True, True]
    assert [name in problem for name, problem in zip(("missing.h5", "torn.h5"), problems, strict=True)] == [True, True]


def test_a_check_that_dies_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    message = r"^here: loading framework and weights ended by exit status 1: no error message$"
    with (
        pytest.raises(ClusterError, match=message),
        start_check([config("MobileNet", "/weights.h5")], here=True) as check,
    ):
        check([HERE])


def test_an_abandoned_check_is_ended() -> None:
    before = descendants(os.getpid())
    with start_check([config("MobileNet", "/weights.h5")], here=True):
        assert len(descendants(os.getpid()) - before) == 1
    assert descendants(os.getpid()) <= before
