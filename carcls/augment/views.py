"""How training photos vary: one row of transforms per policy, or the user's own file of them.

A view is a pure function of (policy, seed, view, index); a file is read once per process.

Car models are told apart by shape and detail, so shapes bend little, cars stay upright and colours move freely.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import cv2
import numpy as np
from numpy.typing import NDArray

import carcls.photos.photo  # noqa: F401  # for its cv2.setNumThreads(0), which holds for the whole process
from carcls.augment.generators import ViewGenerators
from carcls.augment.policy_file import read_policy_file
from carcls.augment.policy_probe import try_policy_file
from carcls.catalog import POLICY_FILE_SUFFIXES
from carcls.errors import ConfigError

POLICIES_VERSION = 2
"""Of the transforms below and of what they draw: raise it with every change, and stored views are drawn anew."""


def _light() -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(p=0.5),
        A.CropAndPad(percent=(-0.06, 0.0), p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.5),
    ]


def _medium() -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(p=0.5),
        A.CropAndPad(percent=(-0.12, 0.0), p=0.6),
        _affine(scale=(0.9, 1.1), shift=0.05, degrees=8, shear_degrees=4, p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.6),
        A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=25, val_shift_limit=10, p=0.4),
        A.GaussianBlur(sigma_limit=(0.3, 1.2), p=0.15),
        _noise(spread=0.08, p=0.15),
        A.ImageCompression(quality_range=(50, 95), p=0.2),
    ]


def _strong() -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(p=0.5),
        A.CropAndPad(percent=(-0.2, 0.0), p=0.7),
        _affine(scale=(0.8, 1.15), shift=0.08, degrees=15, shear_degrees=8, p=0.6),
        A.Perspective(scale=(0.02, 0.07), border_mode=cv2.BORDER_REFLECT_101, p=0.3),
        A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.25, p=0.7),
        A.HueSaturationValue(hue_shift_limit=20, sat_shift_limit=40, val_shift_limit=15, p=0.5),
        A.ToGray(p=0.1),
        A.MotionBlur(blur_limit=(3, 7), p=0.2),
        _noise(spread=0.15, p=0.25),
        A.ImageCompression(quality_range=(30, 90), p=0.3),
        A.CoarseDropout(
            num_holes_range=(1, 4),
            hole_height_range=(0.06, 0.22),
            hole_width_range=(0.06, 0.22),
            fill="random_uniform",
            p=0.5,
        ),
    ]


def _affine(*, scale: tuple[float, float], shift: float, degrees: float, shear_degrees: float, p: float) -> A.Affine:
    return A.Affine(
        scale=scale,
        translate_percent=(-shift, shift),
        rotate=(-degrees, degrees),
        shear=(-shear_degrees, shear_degrees),
        border_mode=cv2.BORDER_REFLECT_101,  # black corners would be a mark that no test photo carries
        p=p,
    )


def _noise(*, spread: float, p: float) -> A.MultiplicativeNoise:
    # Not A.GaussNoise: albumentations 2.0.8 draws it by OpenCV's generator, from one of no more than 65,536 seeds.
    return A.MultiplicativeNoise(multiplier=(1 - spread, 1 + spread), per_channel=True, elementwise=True, p=p)


_POLICIES: dict[str, Callable[[], list[A.BasicTransform]]] = {
    "none": list,
    "light": _light,
    "medium": _medium,
    "strong": _strong,
}


class _Composes(threading.local):
    """A Compose carries the random state of the view in progress: each thread has its own, or they would mix views."""

    def __init__(self) -> None:
        self.generators = ViewGenerators()
        self._made: dict[tuple[str, bool], A.Compose] = {}

    def get(self, policy: str, *, noting: bool) -> A.Compose:
        """This thread's composition, drawing from this thread's generators. Raises KeyError, ConfigError."""
        if (policy, noting) not in self._made:
            compose = _compose(policy, noting=noting)
            # Not Compose(seed=) nor set_random_seed: in albumentations 2.0.8 they give every transform the same stream,
            # so that transforms of equal probability always fire together.
            compose.set_random_state(self.generators.numpy, self.generators.python)
            self._made[policy, noting] = compose
        return self._made[policy, noting]


_of_thread = _Composes()


def view(policy: str, image: NDArray[np.uint8], *, seed: int, view: int, index: int) -> NDArray[np.uint8]:
    """One view of one photo: a pure function of the arguments, whichever thread or process asks, in any order.

    policy: a name of `catalog.AUGMENT_POLICIES`, or a path with one of `catalog.POLICY_FILE_SUFFIXES`.
    image: uint8 (h, w, 3) RGB, left as it is. seed, view, index: not negative; index is the photo's position in the
    training table. Returns a new uint8 array of the same shape. Raises KeyError for an unknown policy, ConfigError for
    a file that is none.
    """
    out = np.empty(image.shape, np.uint8)
    write_view(out, policy, image, seed=seed, view=view, index=index)
    return out


def write_view(
    out: NDArray[np.uint8], policy: str, image: NDArray[np.uint8], *, seed: int, view: int, index: int
) -> None:
    """`view`, written to `out`, uint8 of the image's shape: a row of a batch."""
    out[:] = image if policy == "none" else _drawn(policy, image, seed, view, index, noting=False)["image"]


def view_and_transforms(
    policy: str, image: NDArray[np.uint8], *, seed: int, view: int, index: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """`view`, and the class names of the transforms that took part in it, in order."""
    if policy == "none":
        return image.copy(), ()
    result = _drawn(policy, image, seed, view, index, noting=True)
    # Nothing is noted where the composition as a whole did not take part.
    return result["image"].copy(), tuple(name for name, _ in result.get("applied_transforms", ()))


def transforms(policy: str) -> list[A.BasicTransform]:
    """The named policy's transforms in the order of application, each of its own class. Raises KeyError."""
    return _POLICIES[policy]()


def check_policy(policy: str) -> None:
    """Raises KeyError for an unknown policy, ConfigError for a file that cannot be one.

    A file is first tried in a process of its own, which takes seconds: for the start of a study. What trains asks
    `know_policy`.
    """
    if _is_file(policy):
        try_policy_file(policy)
    know_policy(policy)


def know_policy(policy: str) -> None:
    """Raises as `check_policy`, for what was checked before; a second call is free."""
    if _is_file(policy):
        read_policy_file(policy)
    elif policy not in _POLICIES:
        raise KeyError(policy)


def policy_fingerprint(policy: str) -> str:
    """What views depend on beside (seed, view, index): equal where equal photos make equal views. For store keys.

    Names content, never a path. Raises as `know_policy`.
    """
    know_policy(policy)
    what = f"file {read_policy_file(policy).digest}" if _is_file(policy) else policy
    return f"{what} {POLICIES_VERSION}, albumentations {A.__version__}, opencv {cv2.__version__}"


def _is_file(policy: str) -> bool:
    return policy.endswith(POLICY_FILE_SUFFIXES)


def _compose(policy: str, *, noting: bool) -> A.Compose:
    """A new composition; `noting` what it applies takes time."""
    if _is_file(policy):
        return read_policy_file(policy).compose(noting=noting)
    return A.Compose(transforms(policy), save_applied_params=noting)


def _drawn(
    policy: str, image: NDArray[np.uint8], seed: int, view: int, index: int, *, noting: bool
) -> Mapping[str, Any]:
    """What the composition returns; its image may be, or share memory with, the one that came in."""
    compose = _of_thread.get(policy, noting=noting)
    _of_thread.generators.start(seed=seed, view=view, index=index)
    result: Mapping[str, Any] = compose(image=image)
    out = result["image"]
    if out.shape != image.shape or out.dtype != np.uint8:  # so seldom that no photo of noise showed it
        raise ConfigError(
            f"{policy}: made {out.dtype} {out.shape} of a photo of uint8 {image.shape}: change the policy"
        )
    return result
