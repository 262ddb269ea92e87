"""Memory shares on a table of cards, and where a card's memory is read from."""

import logging

import pytest

from carcls.backend import gpu_memory
from carcls.backend.gpu_memory import (
    cards_by_smi,
    cards_seen,
    granted_bytes,
    limits_mib,
    memory_fraction,
    memory_limit_mib,
)
from carcls.system.cuda_driver import Card

CARDS = {
    # nvidia-smi's answer: what CUDA has at least, compute capability, MiB that TensorFlow itself would keep free
    "T4": ("15360 MiB, 7.5", 14_660, 1_050),
    "A10": ("23028 MiB, 8.6", 22_328, 1_536),
    "A100-40": ("40960 MiB, 8.0", 40_260, 1_536),
    "A100-80": ("81920 MiB, 8.0", 81_220, 1_536),
    "H100": ("81559 MiB, 9.0", 80_859, 1_800),
    "RTX PRO 6000": ("97887 MiB, 12.0", 97_187, 1_800),
    "old": ("16280 MiB, 6.0", 15_580, 1_050),
    "without compute_cap": ("16280 MiB, [N/A]", 15_580, 1_800),
}


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_processes_that_share_a_card_never_exceed_what_cuda_has(name, share, monkeypatch):
    answer, total_mib, reserve_mib = CARDS[name]
    monkeypatch.setattr(gpu_memory, "gpu_rows", lambda fields, gpu=None: [answer])
    (card,) = cards_by_smi(None)
    assert card is not None
    assert card.total_mib == total_mib
    limit = memory_limit_mib(card, share)
    assert limit == int(total_mib * share) - reserve_mib
    assert round(1 / share) * (limit + reserve_mib) <= total_mib
    fraction = memory_fraction(card, share)
    assert limit / total_mib - 0.001 < fraction <= limit / total_mib


@pytest.mark.parametrize(
    ("slice_mib", "share", "limit"),
    # 1g.5gb and 2g.10gb of an A100 with 40 GB, 1g.10gb of an H100 with 80 GB: the driver tells each slice's memory.
    [((4_864, (8, 0)), 1.0, 3_328), ((9_856, (8, 0)), 0.5, 3_392), ((9_728, (9, 0)), 1.0, 7_928)],
)
def test_a_mig_slice_counts_as_a_card_of_its_own(slice_mib, share, limit):
    assert memory_limit_mib(Card(*slice_mib), share) == limit


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="outside"):
        memory_limit_mib(Card(80_000, (8, 0)), share)


def test_a_share_too_small_for_cuda_is_refused():
    with pytest.raises(ValueError, match=r"0.25 of 4864 MiB leaves nothing after the 1536 MiB that CUDA needs; raise"):
        memory_limit_mib(Card(4_864, (8, 0)), 0.25)


def test_unknown_memory_is_not_limited_and_said(monkeypatch, caplog):
    """Unified memory, and MIG slices, which nvidia-smi does not list by their ids."""
    answers = {"0": ["[N/A], 12.1"], "1": ["80000 MiB, 8.0"]}
    monkeypatch.setattr(gpu_memory, "gpu_rows", lambda fields, gpu=None: answers[gpu.strip()])
    cards = cards_by_smi("0, 1,MIG-00000000-1111-2222-3333-444444444444")
    assert cards == [None, Card(79_300, (8, 0)), None]
    with caplog.at_level(logging.WARNING):
        assert limits_mib(cards, 3, 0.5) == [None, 38_114, None]
    assert "not limited" in caplog.text
    assert cards_by_smi("") == []
    assert limits_mib([], 1, 0.5) == [None]


class FakeDriver:
    """Answers as libcuda does: through pointers, with 0 for success."""

    def __init__(self, cards, *, error=0):
        self._cards, self._error = cards, error

    def cuInit(self, flags):  # noqa: N802
        return self._error

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self._cards)
        return 0

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        device._obj.value = 10 + ordinal
        return 0

    def cuDeviceTotalMem_v2(self, total, device):  # noqa: N802
        total._obj.value = self._cards[device.value - 10].total_mib * 2**20 + 5
        return 0

    def cuDeviceGetAttribute(self, value, number, device):  # noqa: N802
        capability = self._cards[device.value - 10].capability
        value._obj.value = 0 if capability is None else capability[number - 75]
        return capability is None


def test_the_driver_is_asked_first_and_nvidia_smi_only_without_its_answer(monkeypatch):
    cards = [Card(14_917, (7, 5)), Card(4_864, None)]
    monkeypatch.setattr(gpu_memory, "gpu_rows", lambda fields, gpu=None: ["15360 MiB, 7.5"])
    monkeypatch.setattr(gpu_memory, "load_driver", lambda: FakeDriver(cards))
    assert cards_seen("0,1") == cards
    for silent in (None, FakeDriver(cards, error=100)):
        monkeypatch.setattr(gpu_memory, "load_driver", lambda silent=silent: silent)
        assert cards_seen("0") == [Card(14_660, (7, 5))]


def test_a_training_has_what_its_smallest_card_gives():
    large, small = Card(40_000, (8, 0)), Card(16_000, (7, 5))
    assert granted_bytes([large, small], 1, 0.5) == (20_000 - 1_536) * 2**20
    assert granted_bytes([large, small], 2, 1.0) == (16_000 - 1_050) * 2**20
    assert granted_bytes([large, None], 2, 1.0) is None
    assert granted_bytes([large], 2, 1.0) is None
    assert granted_bytes([], 1, 1.0) is None
