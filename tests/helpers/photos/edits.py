"""Edited copies of photos, and photos of different cars on one background."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.photos.photo import decode_bytes, read_photo_bytes

Image = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
_WHITE = 225
"""Grey level from which a pixel around a cut-out car counts as white paper."""
_PAPER_SHARE = 0.75
_CAR_SHARES = (0.4, 0.55, 0.7)
"""Widths of the car as shares of the photo's width. The smaller the car, the larger the common background."""
_LIKELY = 4
"""Number of the most similar cars that are put in a car's place."""


def again(image: Image, quality: int = 90) -> Image:
    """The photo after saving and reading it as JPEG."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)


def cut(image: Image, share: float) -> Image:
    """The photo cropped on two sides."""
    height, width = image.shape[:2]
    return image[int(share * height) :, : width - int(share * width)]


def scaled(image: Image, factor: float) -> Image:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def stamped(image: Image) -> Image:
    height, width = image.shape[:2]
    place = (int(width * 0.55), int(height * 0.95))
    return cv2.putText(image.copy(), "avito.ru", place, 0, width / 400, (255, 255, 255), 3)


EDITS: dict[str, tuple[Callable[[Image], Image], float]] = {
    "quality 10": (lambda image: again(image, 10), 0.99),
    "half the size": (lambda image: scaled(image, 0.5), 0.99),
    "a quarter of the size": (lambda image: scaled(image, 0.25), 0.99),
    "larger": (lambda image: scaled(image, 1.5), 0.99),
    "square": (lambda image: cv2.resize(image, (224, 224)), 0.99),
    "brighter": (lambda image: np.clip(image * 1.2 + 15, 0, 255).astype(np.uint8), 0.99),
    "darker": (lambda image: (image * 0.7).astype(np.uint8), 0.99),
    "grey": (lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), 0.99),
    "cut by 3 %": (lambda image: cut(image, 0.03), 0.97),
    "cut by 5 %": (lambda image: cut(image, 0.05), 0.9),
    "stamped": (stamped, 0.95),
    "all at once": (lambda image: again(scaled(np.clip(cut(image, 0.02) * 1.1, 0, 255).astype(np.uint8), 0.5)), 0.97),
}
"""Common edits, and the share of 300 real photos whose edited copy must be found."""


def photos_below(*folders: Path) -> list[Image]:
    """All photos below the folders, sorted by path."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.jpg"))
    return [decode_bytes(read_photo_bytes(path)) for path in paths]


def cars_cut_out(photos: Sequence[Image]) -> list[Image]:
    """Cars cut out of photos on white paper, (h, w, 4): colours, and a mask of 0 or 255."""
    cars = []
    for photo in photos:
        border = np.concatenate([photo[:3].reshape(-1, 3), photo[:, :3].reshape(-1, 3), photo[:, -3:].reshape(-1, 3)])
        if (border.min(axis=1) > _WHITE).mean() < _PAPER_SHARE or min(photo.shape[:2]) <= 100:
            continue
        paper = cv2.copyMakeBorder(
            (photo.min(axis=2) > _WHITE).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1
        )
        _, regions = cv2.connectedComponents(paper, connectivity=4)
        car = (regions != regions[0, 0])[1:-1, 1:-1].astype(np.uint8) * 255
        cars.append(np.dstack([photo, cv2.GaussianBlur(car, (3, 3), 0)]))
    return cars


def before_one_background(cars: Sequence[Image], places: Sequence[Image], seed: int) -> Iterator[tuple[Image, Image]]:
    """Pairs of photos of 640 x 480: two similar cars, cut out of their photos and placed at one position on one
    background, with a slightly moved camera. Every second background is a wall and a floor with a sign, the others are
    real photos."""
    rng = np.random.default_rng(seed)
    grey = [
        cv2.resize(cv2.cvtColor(car[..., :3], cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
        for car in cars
    ]
    thumbnails = np.stack(grey).reshape(len(cars), -1).astype(np.float32)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.linalg.norm(thumbnails, axis=1, keepdims=True)
    likeness = thumbnails @ thumbnails.T
    np.fill_diagonal(likeness, -1.0)
    for one in range(len(cars)):
        for other in np.argsort(-likeness[one], kind="stable")[:_LIKELY].tolist():
            for share in _CAR_SHARES:
                background = _studio(rng) if rng.random() < 0.5 else _blurred(places[rng.integers(len(places))])
                yield _placed(background, cars[one], share, rng), _placed(background, cars[other], share, rng)


def _studio(rng: np.random.Generator) -> Image:
    wall, floor, horizon = rng.integers(90, 240), rng.integers(60, 200), int(HEIGHT * rng.uniform(0.45, 0.7))
    rows = np.concatenate([np.linspace(wall, 0.85 * wall, horizon), np.linspace(0.8 * floor, floor, HEIGHT - horizon)])
    image = np.repeat(rows[:, None, None], WIDTH, axis=1).repeat(3, axis=2).astype(np.uint8)
    return cv2.putText(image, f"DEALER {rng.integers(1000)}", (64, 80), 0, 1.6, (255, 255, 255), 4)


def _blurred(photo: Image) -> Image:
    return cv2.GaussianBlur(cv2.resize(photo, (WIDTH, HEIGHT)), (0, 0), 2)


def _placed(background: Image, car: Image, share: float, rng: np.random.Generator) -> Image:
    scale = min(share * WIDTH / car.shape[1], 0.8 * HEIGHT / car.shape[0])
    car = cv2.resize(car, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = car.shape[:2]
    aside, below = rng.uniform(-0.01, 0.01, 2)
    left, top = (WIDTH - width) // 2 + int(aside * WIDTH), int(0.9 * HEIGHT) - height + int(below * HEIGHT)
    photo = background.astype(np.float32)
    mask = car[..., 3:].astype(np.float32) / 255
    part = photo[top : top + height, left : left + width]
    part[:] = part * (1 - mask) + car[..., :3] * mask
    return photo.astype(np.uint8)
