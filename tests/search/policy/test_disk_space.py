from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from carcls.store.disk import free_bytes
from search.policy.disk_space import DiskWatch, needed_bytes

MB = 10**6
PATIENCE_S = 600.0


@dataclass
class Disk:
    """A disk as full as the test sets it, and a clock."""

    free_mb: float = 1000.0
    now_s: float = 0.0

    def watch(self) -> DiskWatch:
        return DiskWatch(
            Path("/study"),
            patience_s=PATIENCE_S,
            clock_s=lambda: self.now_s,
            free=lambda path: round(self.free_mb * MB),
        )


def test_needed_is_a_margin_and_three_files_for_each_segment():
    assert needed_bytes(largest_bytes=0, running=0, refused_at_bytes=None) == 16 * MB
    assert needed_bytes(largest_bytes=100 * MB, running=2, refused_at_bytes=None) == (16 + 9 * 100) * MB
    assert needed_bytes(largest_bytes=0, running=0, refused_at_bytes=50 * MB) == 66 * MB


@given(st.integers(0, 10**9), st.integers(0, 8), st.none() | st.integers(0, 10**9))
def test_more_segments_larger_files_and_a_full_disk_never_lower_it(largest: int, running: int, refused: int | None):
    needed = needed_bytes(largest_bytes=largest, running=running, refused_at_bytes=refused)
    assert needed_bytes(largest_bytes=largest, running=running + 1, refused_at_bytes=refused) >= needed
    assert needed_bytes(largest_bytes=largest + 1, running=running, refused_at_bytes=refused) >= needed
    assert needed >= needed_bytes(largest_bytes=largest, running=running, refused_at_bytes=None)
    assert refused is None or needed > refused, "less was not enough before"


def test_free_bytes_match_the_system(tmp_path: Path):
    assert 0 < free_bytes(tmp_path) < 2**63


def test_gives_up_when_full_for_longer_than_the_patience():
    disk = Disk()
    watch = disk.watch()
    watch.wrote(10 * MB)
    watch.wrote(5 * MB)
    assert watch.shortage(running=0) is None
    disk.free_mb = 45.9
    shortage = watch.shortage(running=0)
    assert str(shortage) == "/study: 45.9 MB free on its disk, 46.0 MB needed for another segment"
    assert (watch.is_full, watch.gives_up) == (True, False)
    disk.now_s = PATIENCE_S - 1
    assert watch.shortage(running=0) is not None
    assert not watch.gives_up
    disk.now_s = PATIENCE_S
    assert watch.gives_up
    disk.free_mb = 46.0
    assert watch.shortage(running=0) is None
    assert (watch.is_full, watch.gives_up) == (False, False)
    disk.free_mb = 1.0
    assert watch.shortage(running=0) is not None
    assert not watch.gives_up, "it is full anew"


def test_after_a_full_disk_more_space_is_needed_than_was_free():
    disk = Disk(free_mb=100.0)
    watch = disk.watch()
    watch.refused()
    assert watch.shortage(running=0) is not None
    disk.free_mb = 116.0
    assert watch.shortage(running=0) is None
    disk.free_mb = 100.0
    assert watch.shortage(running=0) is None, "once there was room, the usual rule holds"


def test_a_full_disk_elsewhere_is_probed_until_the_patience_ends():
    disk = Disk(free_mb=100.0)
    watch = disk.watch()
    handed_out = []
    watch.refused()
    while not watch.gives_up:
        disk.now_s += 1.0
        if watch.shortage(running=0) is None:
            handed_out.append(disk.now_s)
            watch.refused()
    assert 8 <= len(handed_out) <= 10
    assert disk.now_s <= PATIENCE_S + 1


def test_a_written_checkpoint_ends_the_shortage():
    disk = Disk(free_mb=100.0)
    watch = disk.watch()
    watch.refused()
    assert watch.shortage(running=1) is not None
    watch.wrote(MB)
    assert watch.shortage(running=1) is None
    assert not watch.is_full
