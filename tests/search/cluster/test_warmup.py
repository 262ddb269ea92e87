import os

import pytest

from carcls.config import TrainConfig
from search.cluster.guard import descendants
from search.cluster.resources import Node
from search.cluster.warmup import checking_weights, distinct_weights
from search.errors import ClusterError

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


def test_without_files_to_check_no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was made")

    monkeypatch.setattr("ray.remote", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    for here in (True, False):
        with checking_weights((), here=here) as check:
            check([HERE])


def test_every_problem_is_told_by_node(tmp_path) -> None:
    """By a process of its own, which begins before it is asked."""
    (tmp_path / "torn.h5").write_bytes(b"torn")
    configs = [config("MobileNet", str(tmp_path / name)) for name in ("missing.h5", "torn.h5")]
    with pytest.raises(ClusterError) as caught, checking_weights(configs, here=True) as check:
        check([HERE])
    first, *problems = str(caught.value).splitlines()
    assert first == "the backbones' weights cannot be used:"
    assert [problem.startswith("  here: ") for problem in problems] == [True, True]
    assert [name in problem for name, problem in zip(("missing.h5", "torn.h5"), problems, strict=True)] == [True, True]


def test_a_check_that_dies_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with (
        pytest.raises(ClusterError, match="here: the check ended by exit status 1: no word"),
        checking_weights([config("MobileNet", "/weights.h5")], here=True) as check,
    ):
        check([HERE])


def test_a_check_that_nobody_waits_for_is_ended() -> None:
    before = descendants(os.getpid())
    with checking_weights([config("MobileNet", "/weights.h5")], here=True):
        assert len(descendants(os.getpid()) - before) == 1
    assert descendants(os.getpid()) <= before
