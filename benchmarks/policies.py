"""The augmentation that is compared: one list of transforms for us, for the peers and for the limit."""

from pathlib import Path

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import cv2

from carcls.augment import views as augment
from carcls.catalog import AUGMENT_POLICIES

FLIP = "flip"
"""Flip, affine and brightness: what most notebooks of the contest do."""
POLICIES = (FLIP, *AUGMENT_POLICIES)


def transforms(policy: str) -> list[A.BasicTransform]:
    """New transforms of `flip` or of one of ours. Raises KeyError for another name."""
    if policy != FLIP:
        return augment.transforms(policy)
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(
            scale=(0.9, 1.1),
            translate_percent=(-0.05, 0.05),
            rotate=(-8, 8),
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.5,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
    ]


def as_setting(policy: str, folder: Path) -> str:
    """What `augment.policy` says in a configuration: a name of ours, or the path of a file written to `folder`."""
    if policy != FLIP:
        return policy
    path = folder / "flip.json"
    A.save(A.Compose(transforms(FLIP)), path, data_format="json")
    return str(path)
