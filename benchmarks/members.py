"""Size and time of averaged models against one of their members: python -m benchmarks.members, about 2 minutes.

MobileNetV2-1.0 at 224 px over photos of cars10 that are decoded already: one, two and four members, once with weights
of their own and once with one frozen trunk for all. Time and size do not depend on what the weights are, so nothing is
trained.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import PHOTOS, finish, interleaved, judge, machine, quiet, table

quiet()

from benchmarks.mobilenets import MOBILENETS, WEIGHTS  # noqa: E402 - after `quiet`: they bring albumentations
from carcls.inference.ensemble import Member, averaged  # noqa: E402 - after `quiet`
from carcls.inference.export import BATCH_SIZE, export_model, load_model  # noqa: E402 - after `quiet`
from carcls.inference.tta import predict_view  # noqa: E402 - after `quiet`
from carcls.input.pixels import decode  # noqa: E402 - after `quiet`
from carcls.models.classifier import build_classifier  # noqa: E402 - after `quiet`

COUNTS = (1, 2, 4)
TARGET = 0.95
"""Of an even share: timings of one run differ by a twentieth."""
_NET = next(net for net in MOBILENETS if net.name == "MobileNetV2-1.0")
_CLASS_NAMES = tuple(str(number) for number in range(10))


def main() -> None:
    arguments = _parse()
    files = sorted(arguments.photos.glob("train/*/*.jpg"))[: arguments.count]
    photos = np.stack([decode(file, arguments.size) for file in files])
    print(f"{_NET.name}, {len(photos)} photos at {arguments.size} px, batches of {BATCH_SIZE}; {machine()}\n")
    sizes, passes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (count, is_shared) in _averages().items():
            path = Path(folder) / "model.keras"
            _export(path, count, is_shared=is_shared, size_px=arguments.size)
            sizes[name] = path.stat().st_size
            passes[name] = _pass(path, photos)
    ms = interleaved(passes, rounds=arguments.rounds)
    # Within each round, because what else the machine does changes from round to round.
    times = {name: median(mine / one for mine, one in zip(ms[name], ms["1"], strict=True)) for name in ms}
    print(
        table(
            ("members", "MB", "times one", "ms a photo", "times one"),
            [(name, sizes[name] / 1e6, sizes[name] / sizes["1"], median(ms[name]), times[name]) for name in ms],
        )
    )
    claims = []
    for name, (count, is_shared) in _averages().items():
        if count > 1:
            allowed = 1 if is_shared else count
            claims.append(_claim(f"ms a photo of {name}, times one", ours=times[name], peer=allowed))
            claims.append(_claim(f"MB of {name}, times one", ours=sizes[name] / sizes["1"], peer=allowed))
    finish("members", claims)


def _averages() -> dict[str, tuple[int, bool]]:
    """By its name: how many members, and whether they share a frozen trunk."""
    own = {str(count): (count, False) for count in COUNTS}
    return own | {f"{count}, one frozen trunk": (count, True) for count in COUNTS if count > 1}


_claim = partial(judge, target=TARGET, smaller_is_better=True)


def _export(path: Path, count: int, *, is_shared: bool, size_px: int) -> None:
    weights = WEIGHTS / _NET.file
    members = []
    for number in range(count):
        config = _NET.config(image_size=size_px, epochs=(1,), seed=number)
        classifier = build_classifier(
            config,
            size_px=size_px,
            class_count=len(_CLASS_NAMES),
            weights=weights if weights.is_file() else None,
        )
        if not is_shared:
            kernel = classifier.backbone.weights[0]
            kernel.assign(kernel * (1.0 + number / 1000))
        members.append(Member(classifier, size_px))
    export_model(
        path,
        averaged(members),
        class_names=_CLASS_NAMES,
        config=config,
        size_px=size_px,
        tta_views=("plain",),
        members=count,
    )


def _pass(path: Path, photos: NDArray[np.uint8]) -> Callable[[], float]:
    """Loads a model and traces it; what comes back predicts all photos and tells the ms of each."""
    model = load_model(path).model
    predict_view(model, photos[:BATCH_SIZE], "plain", batch_size=BATCH_SIZE)

    def measure() -> float:
        started = time.perf_counter()
        predict_view(model, photos, "plain", batch_size=BATCH_SIZE)
        return 1000 * (time.perf_counter() - started) / len(photos)

    return measure


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.members", description=__doc__)
    parser.add_argument("--size", type=int, default=224, help="side in px (%(default)s)")
    parser.add_argument("--count", type=int, default=32, help="photos (%(default)s)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder in the contest's layout (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
