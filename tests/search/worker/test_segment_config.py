"""A child reads its study's files at their current paths."""

from pathlib import Path

import pytest

from search.experiment.file.paths import copy_name
from search.worker.segment import Segment
from search.worker.segment_config import config_of

CONFIG = {
    "backbone": "MobileNet",
    "weights": "none",
    "image_size": 32,
    "batch_size": 8,
    "stages": [{"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.001}],
}
POLICY = b"- HorizontalFlip: {}\n"
NAME = copy_name(Path("strong.yaml"), POLICY)


def segment(study: Path, policy: str) -> Segment:
    return Segment(
        study=str(study),
        number=0,
        attempt=0,
        config={**CONFIG, "augment": {"policy": policy}},
        resume=None,
        stop_after_stage=0,
        data_root="photos",
        view_seed=0,
        store={},
        threads=1,
        gpu_share=None,
        deterministic=True,
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    policies = tmp_path / "moved" / "policies"
    policies.mkdir(parents=True)
    (policies / NAME).write_bytes(POLICY)
    (policies / "own.yaml").write_bytes(POLICY)
    return policies.parent


def test_a_copy_is_read_where_the_study_lies_now(study: Path) -> None:
    assert config_of(segment(study, f"/where/it/was/policies/{NAME}")).augment.policy == str(study / "policies" / NAME)


@pytest.mark.parametrize(
    "policy", ["medium", "/users/own.yaml", f"/users/{NAME.replace('strong', 'weak')}"], ids=["named", "own", "absent"]
)
def test_what_is_no_copy_of_this_study_stays_as_it_is(study: Path, policy: str) -> None:
    assert config_of(segment(study, policy)).augment.policy == policy
