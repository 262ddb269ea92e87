import os
from pathlib import Path

from carcls.dataset.scan import Scan, scan_in_processes, scan_photos
from carcls.photos.photo import digest_of


def die_on_killers(path: Path) -> Scan:
    """Simulates a decoder that crashes on a photo: the process dies without an exception."""
    if path.name.startswith("killer"):
        os._exit(9)
    return Scan(path.name)


def test_a_photo_that_kills_its_process_is_named_and_the_rest_is_scanned():
    names = ["a", "killer1", "b", "c", "killer2", "killer3", "d"]
    paths = [Path(name) for name in names]
    scans = scan_in_processes(die_on_killers, [paths[:4], paths[4:]], 2)
    died = Scan(reason="decoding it crashed the process")
    assert scans == [Scan("a"), died, Scan("b"), Scan("c"), died, died, Scan("d")]


def test_scans_keep_the_order_of_the_paths(tmp_path, write_photo):
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        write_photo(path, number)
    paths[3].write_bytes(b"broken")
    scans = scan_photos([*paths, tmp_path / "absent"], processes=1)
    assert [scan.digest for scan in scans] == [digest_of(path.read_bytes()) for path in paths[:3]] + [
        "",
        digest_of(paths[4].read_bytes()),
        "",
    ]
    assert [scan.reason for scan in scans] == ["", "", "", "not a JPEG, PNG or WebP file", "", "no such file"]


def test_nothing_to_scan():
    assert scan_photos([], processes=4) == []
