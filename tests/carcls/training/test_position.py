import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.config import EarlyStoppingConfig, StageConfig, TrainConfig
from carcls.errors import CheckpointError
from carcls.scoring.choices import Scaled
from carcls.training.position import Best, Position, Scores, stopping_note

CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=32,
    batch_size=8,
    stages=(
        StageConfig(name="head", unfreeze=0.0, epochs=2, learning_rate=0.1),
        StageConfig(
            name="half",
            unfreeze=0.5,
            epochs=3,
            learning_rate=0.1,
            image_scale=2.0,
            early_stopping=EarlyStoppingConfig(patience_epochs=1),
        ),
    ),
)


def walk(scores: list[Scores], *, attempt: int = 0, losses: list[list[float]] | None = None) -> list[Position]:
    positions = [Position()]
    for at, score in enumerate(scores):
        here = positions[-1].entering(positions[-1].next_stage)
        compared = None if losses is None else Scaled(np.array(losses[at]), 1.0)
        positions.append(here.after_epoch(CONFIG, score, compared, attempt=attempt))
    return positions[1:]


def scores(accuracy: float, log_loss: float) -> Scores:
    return Scores(log_loss=log_loss, accuracy=accuracy, macro_f1=accuracy)


def test_stages_follow_each_other_and_early_stopping_ends_only_its_own():
    walked = walk([scores(0.5, 1.0), scores(0.6, 0.9), scores(0.4, 1.5), scores(0.4, 1.6)])
    assert [(p.epoch, p.stage, p.stage_epoch, p.stage_ended, p.next_stage) for p in walked] == [
        (1, 0, 1, False, 0),
        (2, 0, 2, True, 1),
        (3, 1, 1, False, 1),
        (4, 1, 2, True, 2),
    ]
    assert walked[-1].log_losses == (1.5, 1.6)
    assert [stopping_note(CONFIG.stages[p.stage], p) for p in walked] == [
        (),
        (),
        (),
        ("stopped after 2 of 3 epochs: no better validation log-loss for 1 epoch",),
    ]


def test_the_best_is_kept_over_stages_with_its_size_and_ties_keep_the_earlier():
    walked = walk([scores(0.5, 1.0), scores(0.5, 0.9), scores(0.5, 0.9), scores(0.6, 2.0)], attempt=3)
    assert [p.best_so_far.epoch for p in walked] == [1, 2, 2, 4]
    assert walked[2].best == Best(2, "attempt-3/best-0002.npz", 32, accuracy=0.5, log_loss=0.9, ends_stage=True)
    assert walked[3].best_so_far.image_size == 64


@pytest.mark.parametrize(("last", "expected"), [([0.4, 1.7], 4), ([1.4, 1.6], 2)])
def test_with_losses_the_latest_stage_end_within_noise_is_kept(last, expected):
    told = [scores(0.5, 1.0), scores(0.9, 1.0), scores(0.6, 0.9), scores(0.1, 1.5)]
    walked = walk(told, losses=[[3.0, 3.0], [1.0, 1.0], [0.1, 0.1], last])
    assert [p.stage_ended for p in walked] == [False, True, False, True]
    assert [p.best_so_far.epoch for p in walked] == [1, 2, 2, expected]
    assert Position.from_json(json.loads(json.dumps(walked[-1].to_json()))) == walked[-1]


def test_an_older_position_without_losses_is_read():
    old = walk([scores(0.5, 1.0)])[0].to_json()
    del old["best"]["losses"], old["best"]["ends_stage"]
    assert Position.from_json(old).best == Best(1, "attempt-0/best-0001.npz", 32, accuracy=0.5, log_loss=1.0)


def test_entering_the_stage_under_way_changes_nothing():
    midway = walk([scores(0.5, 1.0)])[0]
    assert midway.entering(0) is midway
    assert midway.entering(1).log_losses == ()


def test_before_the_first_epoch_nothing_is_best():
    with pytest.raises(ValueError, match="no epoch has finished yet"):
        _ = Position().best_so_far


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 20)), max_size=4))  # two epochs of each stage at least
def test_positions_survive_json(values):
    for position in [Position(), *walk([scores(*value) for value in values])]:
        assert Position.from_json(json.loads(json.dumps(position.to_json()))) == position


@pytest.mark.parametrize(
    "wrong", [{}, {"best": None}, {"best": {"epoch": 1}, "log_losses": []}, Position().to_json() | {"x": 1}]
)
def test_an_invalid_position_is_refused(wrong):
    with pytest.raises(CheckpointError, match="not the position of a training"):
        Position.from_json(wrong)
