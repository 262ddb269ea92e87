"""How much of a GPU's memory one process may use. Arithmetic over plain values, and where the values come from."""

import logging
from collections.abc import Sequence

from carcls.system.cuda_driver import Card, load_driver, visible_cards
from carcls.system.nvidia_smi import gpu_rows, is_mig, mib

_log = logging.getLogger(__name__)

_MIB = 2**20
_RESERVES_MIB = {7: 1050, 8: 1536, 9: 1800}
"""What TensorFlow leaves free for CUDA's context and libraries, by major compute capability (gpu_device.cc,
MinSystemMemory). An explicit limit skips it, so we subtract it ourselves, once for each process."""
_DRIVER_MIB = 700
"""nvidia-smi counts memory that the driver keeps for itself: 443 MiB on a T4, 638 MiB on a card of 96 GB."""


def memory_limit_mib(card: Card, share: float) -> int:
    """Limit in MiB for the framework's allocator that keeps the whole process within its share of a GPU.

    Raises ValueError for a share outside (0, 1] or one that is too small.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"gpu_memory_share: {share} is outside (0, 1]")
    reserve = reserve_mib(card.capability)
    limit = int(card.total_mib * share) - reserve
    if limit <= 0:
        raise ValueError(
            f"gpu_memory_share: {share} of {card.total_mib} MiB leaves nothing after the {reserve} MiB that CUDA needs;"
            " raise search.resources.gpus_per_trial"
        )
    return limit


def reserve_mib(capability: tuple[int, int] | None) -> int:
    """MiB of each process for CUDA's context and libraries; an unknown GPU counts as a new one."""
    newest = max(_RESERVES_MIB)
    major = newest if capability is None else capability[0]
    return _RESERVES_MIB[min(max(major, min(_RESERVES_MIB)), newest)]


def memory_fraction(card: Card, share: float) -> float:
    """The same limit as a fraction of the card, rounded down to a thousandth, as JAX wants it."""
    return memory_limit_mib(card, share) * 1000 // card.total_mib / 1000


def cards_seen(visible: str | None) -> list[Card | None]:
    """The GPUs that this process sees, in CUDA's order; None for one whose memory is unknown.

    visible: CUDA_VISIBLE_DEVICES. The driver answers for everything that CUDA can use; nvidia-smi, which is asked only
    if the driver does not answer, knows no MIG slices and no unified memory.
    """
    cards = visible_cards(load_driver())
    return list(cards) if cards is not None else cards_by_smi(visible)


def cards_by_smi(visible: str | None) -> list[Card | None]:
    """The same from nvidia-smi, whose totals are reduced to what CUDA sees."""
    # By id, because the program lists every GPU of the machine and the framework only the visible ones.
    ids: Sequence[str | None] = [None] if visible is None else [one for one in visible.split(",") if one.strip()]
    cards: list[Card | None] = []
    for gpu in ids:
        if gpu is not None and is_mig(gpu):
            cards.append(None)
        else:
            cards += [_card(row) for row in gpu_rows("memory.total,compute_cap", gpu=gpu)]
    return cards


def granted_bytes(cards: Sequence[Card | None], count: int, share: float) -> int | None:
    """What the framework's allocator may use on the smallest of the first `count` cards; None if that is unknown.

    Raises ValueError as `memory_limit_mib`.
    """
    known = [card for card in cards[:count] if card is not None]
    if len(known) < count:
        return None
    return min(memory_limit_mib(card, share) for card in known) * _MIB


def _card(row: str) -> Card | None:
    total, _, capability = row.partition(",")
    found = mib(total)
    if found is None:
        return None
    major, _, minor = capability.strip().partition(".")
    known = major.isdigit() and minor.isdigit()
    return Card(max(found - _DRIVER_MIB, 1), (int(major), int(minor)) if known else None)


def limits_mib(cards: Sequence[Card | None], count: int, share: float) -> list[int | None]:
    """The limit of each of `count` GPUs, or None with a warning where memory is unknown. Raises ValueError."""
    known = [*cards, *[None] * count][:count]
    if None in known:
        _log.warning(
            "the memory of a GPU is unknown (nvidia-smi and the CUDA driver do not tell), so it is not limited:"
            " trials that share this GPU may run out of memory"
        )
    return [None if card is None else memory_limit_mib(card, share) for card in known]
