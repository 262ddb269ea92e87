"""Where a trial may find more memory: a configuration refused on a small card is tried on a larger one. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence

from carcls.config import TrainConfig
from search.policy.oom import OomRecord, never_fits

_DEVICE = re.compile(r"(?P<name>.*), (?P<mib>\d+) MiB(?:, share (?P<share>[\d.]+))?")
_CPU = "CPU"
_LARGER = 1.05
"""Machines of one kind may differ by a few MiB."""


def memory_mib(device: str) -> float | None:
    """Memory of a device as `search.worker.machine_memory` names it, times the trial's share; None if unknown."""
    found = _DEVICE.fullmatch(device)
    return found and float(found["mib"]) * min(float(found["share"] or 1), 1.0)


def is_larger(device: str, than: str) -> bool:
    """True if a device is known to have more memory than another of its kind: main memory, or a GPU's."""
    ours, theirs = memory_mib(device), memory_mib(than)
    if ours is None or theirs is None or device.startswith(_CPU) != than.startswith(_CPU):
        return False
    return ours > _LARGER * theirs


def may_fit(records: Iterable[OomRecord], config: TrainConfig, stages: Sequence[int], device: str) -> bool:
    """False if the smallest micro-batch of one of the stages is known not to fit on the device."""
    known = tuple(records)
    return all(never_fits(known, config, stage, device) is None for stage in stages)


def has_larger(
    devices: Iterable[str], refused: str, records: Sequence[OomRecord], config: TrainConfig, stages: Sequence[int]
) -> bool:
    """True if a device has more memory than the one that refused a configuration, and may have room for it."""
    return any(is_larger(device, refused) and may_fit(records, config, stages, device) for device in set(devices))


def too_small(
    devices: Mapping[str, str], records: Sequence[OomRecord], config: TrainConfig, stages: Sequence[int]
) -> frozenset[str]:
    """Nodes on which the stages are known not to fit; empty if that is so on all of them.

    devices: by node; an empty text if unknown, which may fit.
    """
    fits = {device: may_fit(records, config, stages, device) for device in set(devices.values())}
    found = frozenset(node for node, device in devices.items() if not fits[device])
    return frozenset() if len(found) == len(devices) else found
