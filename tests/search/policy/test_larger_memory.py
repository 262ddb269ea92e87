"""Where a configuration that was refused for memory is tried again."""

import pytest

from carcls.config import TrainConfig
from search.policy.larger_memory import has_larger, is_larger, memory_mib, too_small
from search.policy.oom import SMALLEST_BATCH_TRIES, OomKey, OomRecord

T4, A100, H200 = "Tesla T4, 15360 MiB, share 1", "NVIDIA A100, 81920 MiB, share 1", "NVIDIA H200, 143771 MiB, share 1"
HALF_A100 = "NVIDIA A100, 81920 MiB, share 0.5"
RECIPE = TrainConfig.model_validate(
    {
        "backbone": "MobileNet",
        "image_size": 100,
        "batch_size": 32,
        "head": {"batch_norm": False},
        "stages": [
            {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 0.1},
            {"name": "full", "unfreeze": 1.0, "epochs": 1, "learning_rate": 0.1},
        ],
    }
)
BOTH = range(2)


def never(device: str, stage: int = 1) -> OomRecord:
    """Not even the smallest micro-batch fits there."""
    return OomRecord(OomKey.of(RECIPE, stage, device), 1, SMALLEST_BATCH_TRIES)


@pytest.mark.parametrize(
    ("device", "mib"),
    [
        (T4, 15360),
        (HALF_A100, 40960),
        ("NVIDIA A100, 81920 MiB, share 2", 81920),  # batches are spread over two cards, each with the whole model
        ("CPU, 15990 MiB", 15990),
        ("GPU, share 1", None),
        ("", None),
    ],
)
def test_memory_is_read_from_a_devices_name(device: str, mib: float | None) -> None:
    assert memory_mib(device) == mib


@pytest.mark.parametrize(
    ("device", "than", "larger"),
    [
        (A100, T4, True),
        (T4, A100, False),
        (T4, T4, False),
        (HALF_A100, T4, True),
        (HALF_A100, A100, False),
        ("CPU, 64000 MiB", T4, False),  # a trial that was granted a GPU does not train on a CPU
        ("CPU, 64000 MiB", "CPU, 16000 MiB", True),
        ("CPU, 16002 MiB", "CPU, 15990 MiB", False),
        ("", T4, False),
    ],
)
def test_only_more_memory_of_the_same_kind_is_larger(*, device: str, than: str, larger: bool) -> None:
    assert is_larger(device, than) is larger


def test_a_larger_card_counts_unless_it_has_refused_too() -> None:
    known = [never(T4)]
    assert has_larger([T4, A100], T4, known, RECIPE, BOTH)
    assert not has_larger([T4, ""], T4, known, RECIPE, BOTH)
    assert not has_larger([T4, A100], T4, [*known, never(A100)], RECIPE, BOTH)
    assert has_larger([T4, A100, H200], A100, [*known, never(A100)], RECIPE, BOTH)
    assert not has_larger([], T4, known, RECIPE, BOTH)


def test_a_halved_batch_does_not_rule_a_card_out() -> None:
    halved = OomRecord(OomKey.of(RECIPE, 1, A100), 32)
    assert has_larger([A100], T4, [never(T4), halved], RECIPE, BOTH)


def test_nodes_with_too_little_memory_are_left_out_unless_all_have_too_little() -> None:
    nodes = {"small": T4, "large": A100, "unknown": ""}
    assert too_small(nodes, [], RECIPE, BOTH) == frozenset()
    assert too_small(nodes, [never(T4)], RECIPE, BOTH) == {"small"}
    assert too_small(nodes, [never(T4, stage=1)], RECIPE, range(1)) == frozenset(), "its head alone fits"
    assert too_small({"small": T4, "other": T4}, [never(T4)], RECIPE, BOTH) == frozenset()
    assert too_small({}, [never(T4)], RECIPE, BOTH) == frozenset()
