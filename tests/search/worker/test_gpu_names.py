"""Names of GPUs: a card has the same name whether Ray or the local executor grants it."""

import pytest

from search.worker.gpu_names import avoided_gpus, granted_gpus


@pytest.mark.parametrize(
    ("visible", "gpu_share", "gpu", "expected"),
    [
        (None, 1.0, 2, "GPU 2 of node-a"),
        ("4,5,6", 1.0, 1, "GPU 5 of node-a"),
        ("4,5,6", 2.0, 1, "GPU 5,6 of node-a"),
        ("3", 0.5, None, "GPU 3 of node-a"),
        ("GPU-8f1b,GPU-77aa", 1.0, 1, "GPU GPU-77aa of node-a"),
        ("MIG-c6d4", 1.0, None, "GPU MIG-c6d4 of node-a"),
        (None, None, None, None),
    ],
)
def test_a_grant_is_named_as_cuda_numbers_it(visible, gpu_share, gpu, expected):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert granted_gpus(environment, gpu_share=gpu_share, gpu=gpu, node="node-a") == expected
    assert environment.get("CUDA_VISIBLE_DEVICES") == visible, "only a name: nothing is hidden"


@pytest.mark.parametrize(
    ("own", "avoid", "expected"),
    [
        ("GPU 1 of a", ["GPU 1 of a"], True),
        ("GPU 1 of a", ["GPU 1 of b", "GPU 2 of a"], False),
        ("GPU 1,2 of a", ["GPU 2 of a"], True),
        ("GPU 3 of a", ["GPU 2,3 of a"], True),
        ("GPU 1 of a", ["GPU 11 of a"], False),
        ("GPU 1 of a", [], False),
        (None, ["GPU 1 of a"], False),
    ],
)
def test_a_grant_is_avoided_if_it_has_a_gpu_that_failed(own, avoid, expected):
    assert avoided_gpus(own, avoid) is expected
