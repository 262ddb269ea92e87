"""Augmented views of training photos, by a built-in policy or a policy file.

A view is a pure function of (policy, seed, view, index). A policy file is read once per process.

Car models differ in shape and detail, so the policies distort shapes little, keep cars upright and vary colours freely.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import albumentations as A  # noqa: N812  # the conventional alias
import cv2
import numpy as np
from numpy.typing import NDArray

import carcls.photos.photo  # noqa: F401  # for its cv2.setNumThreads(0), which affects the whole process
from carcls.augment.generators import ViewGenerators
from carcls.augment.policy_file import read_policy_file
from carcls.augment.policy_probe import check_policy_file
from carcls.augment.trivial import TrivialAugment
from carcls.catalog import POLICY_FILE_SUFFIXES
from carcls.errors import ConfigError

POLICIES_VERSION = 2
"""Version of these transforms and their random draws. Increase it with every change: stored views depend on it."""


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
        border_mode=cv2.BORDER_REFLECT_101,  # black corners would give augmented photos away
        p=p,
    )


def _noise(*, spread: float, p: float) -> A.MultiplicativeNoise:
    # Not A.GaussNoise: albumentations 2.0.8 draws it with OpenCV's generator from one of only 65,536 seeds.
    return A.MultiplicativeNoise(multiplier=(1 - spread, 1 + spread), per_channel=True, elementwise=True, p=p)


def _trivial() -> list[A.BasicTransform]:
    return [A.HorizontalFlip(p=0.5), TrivialAugment()]


_POLICIES: dict[str, Callable[[], list[A.BasicTransform]]] = {
    "none": list,
    "light": _light,
    "medium": _medium,
    "strong": _strong,
    "trivial": _trivial,
}


class _Composes(threading.local):
    """Compositions of one thread. A Compose holds the random state of the current view, so threads cannot share it."""

    def __init__(self) -> None:
        self.generators = ViewGenerators()
        self._made: dict[tuple[str, bool], A.Compose] = {}

    def get(self, policy: str, *, record_applied: bool) -> A.Compose:
        """This thread's composition, which uses this thread's generators. Raises KeyError, ConfigError."""
        if (policy, record_applied) not in self._made:
            compose = _compose(policy, record_applied=record_applied)
            # Not Compose(seed=) or set_random_seed: in albumentations 2.0.8 they give every transform the same stream,
            # so transforms of equal probability always fire together.
            compose.set_random_state(self.generators.numpy, self.generators.python)
            self._made[policy, record_applied] = compose
        return self._made[policy, record_applied]


_of_thread = _Composes()


def view(policy: str, image: NDArray[np.uint8], *, seed: int, view: int, index: int) -> NDArray[np.uint8]:
    """One view of one photo: a pure function of its arguments in any thread, process and order.

    policy: a name from `catalog.AUGMENT_POLICIES`, or a path with one of `catalog.POLICY_FILE_SUFFIXES`.
    image: uint8 (h, w, 3) RGB, not modified. seed, view, index: not negative; index is the photo's position in the
    training table. Returns a new uint8 array of the same shape. Raises KeyError for an unknown policy, ConfigError for
    an invalid file.
    """
    out = np.empty(image.shape, np.uint8)
    write_view(out, policy, image, seed=seed, view=view, index=index)
    return out


def write_view(
    out: NDArray[np.uint8], policy: str, image: NDArray[np.uint8], *, seed: int, view: int, index: int
) -> None:
    """`view`, written to `out`: uint8 of the image's shape, such as a row of a batch."""
    out[:] = image if policy == "none" else _drawn(policy, image, seed, view, index, record_applied=False)["image"]


def view_and_transforms(
    policy: str, image: NDArray[np.uint8], *, seed: int, view: int, index: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """`view`, and the class names of the transforms that were applied, in order."""
    if policy == "none":
        return image.copy(), ()
    result = _drawn(policy, image, seed, view, index, record_applied=True)
    # The entry is missing if the composition as a whole was not applied.
    return result["image"].copy(), tuple(name for name, _ in result.get("applied_transforms", ()))


def transforms(policy: str) -> list[A.BasicTransform]:
    """The built-in policy's transforms in order of application, each of a different class. Raises KeyError."""
    return _POLICIES[policy]()


def check_policy(policy: str, *, rectangles: bool = False) -> None:
    """Raises KeyError for an unknown policy, ConfigError for an invalid file.

    rectangles: whether photos may be other than squares, which must not be turned by quarters.

    Checks a file in a separate process first, which takes seconds: call it at the start of a study. Trainings call
    `load_policy`.
    """
    if _is_file(policy):
        check_policy_file(policy, rectangles=rectangles)
    load_policy(policy)


def load_policy(policy: str) -> None:
    """Loads a policy that `check_policy` has accepted, and raises the same errors. A second call is free."""
    if _is_file(policy):
        read_policy_file(policy)
    elif policy not in _POLICIES:
        raise KeyError(policy)


def policy_fingerprint(policy: str) -> str:
    """Everything that views depend on except (photo, seed, view, index), as a string for store keys.

    Contains a file's digest, never its path. Raises as `load_policy`.
    """
    load_policy(policy)
    what = f"file {read_policy_file(policy).digest}" if _is_file(policy) else policy
    return f"{what} {POLICIES_VERSION}, albumentations {A.__version__}, opencv {cv2.__version__}"


def _is_file(policy: str) -> bool:
    return policy.endswith(POLICY_FILE_SUFFIXES)


def _compose(policy: str, *, record_applied: bool) -> A.Compose:
    """A new composition. Recording the applied transforms takes extra time."""
    if _is_file(policy):
        return read_policy_file(policy).compose(record_applied=record_applied)
    return A.Compose(transforms(policy), save_applied_params=record_applied)


def _drawn(
    policy: str, image: NDArray[np.uint8], seed: int, view: int, index: int, *, record_applied: bool
) -> Mapping[str, Any]:
    """The composition's result. Its image may be the input, or share memory with it."""
    compose = _of_thread.get(policy, record_applied=record_applied)
    _of_thread.generators.start(seed=seed, view=view, index=index)
    result: Mapping[str, Any] = compose(image=image)
    out = result["image"]
    if out.shape != image.shape or out.dtype != np.uint8:  # too rare to show up on the noise photos
        raise ConfigError(
            f"{policy}: turned a photo of uint8 {image.shape} into {out.dtype} {out.shape}: change the policy"
        )
    return result
