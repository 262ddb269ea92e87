"""What look-alikes are found, and what is wrongly taken for one: python -m benchmarks.look_alikes, a minute on 2 cores.

On the real photos of ../shared/data. Wrongly: pairs of two cars that look alike, cut out of photos on white paper and
put in one place before one background. Found: photos and those pairs' first halves, each edited as people edit photos.
The pairs among the photos as they are have been looked at by eye: nine, and all of them are one photo saved twice.
"""

import argparse
from unittest.mock import patch

from benchmarks.harness import SHARED, quiet

quiet()

from carcls.photos import duplicates  # noqa: E402 - after `quiet`
from carcls.photos.duplicates import near_groups, thumbnail_of  # noqa: E402 - after `quiet`
from tests.helpers.photos.edits import EDITS, Image, before_one_background, cars_cut_out, photos_below  # noqa: E402 - after `quiet`

_EDITED_PHOTOS, _EDITED_PAIRS = 180, 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.look_alikes", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of backgrounds and places")
    seed = parser.parse_args().seed
    data = SHARED / "data"
    photos = photos_below(data / "cars10", data / "bodies9")
    groups = near_groups([thumbnail_of(photo) for photo in photos])
    print(f"{len(photos):,} real photos: {len(groups)} groups of look-alikes")
    pairs = list(before_one_background(cars_cut_out(photos), photos[:60], seed))
    for labels, what in ((None, "labelled alike, or not at all"), ((0, 1), "labelled as two classes")):
        wrong = sum(_linked(one, other, labels) for one, other in pairs)
        print(f"{len(pairs):,} pairs of two cars before one background, {what}: {wrong} taken for look-alikes")
    with patch.object(duplicates, "_OTHER_PARTS", 1.0):
        wrong = sum(_linked(one, other, None) for one, other in pairs)
    print(f"{len(pairs):,} pairs of two cars before one background, compared as a whole alone: {wrong}")
    edited = [*photos[-_EDITED_PHOTOS:], *(one for one, _ in pairs[:: len(pairs) // _EDITED_PAIRS])]
    print(f"\nof {len(edited)} photos found again      labelled alike   as two classes")
    for name, (edit, _) in EDITS.items():
        found = [sum(_linked(photo, edit(photo), labels) for photo in edited) for labels in (None, (0, 1))]
        print(f"{name:<30} {found[0] / len(edited):>15.1%} {found[1] / len(edited):>16.1%}")


def _linked(one: Image, other: Image, labels: tuple[int, int] | None) -> bool:
    return bool(near_groups([thumbnail_of(one), thumbnail_of(other)], labels))


if __name__ == "__main__":
    main()
