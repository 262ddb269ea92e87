"""Augmentation of training photos."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from carcls.catalog import AUGMENT_POLICIES, POLICY_FILE_SUFFIXES
from carcls.config.common import Fraction, FrozenModel, known_name


class AugmentConfig(FrozenModel):
    """Augmentation of training photos. Epoch e shows view e mod `views`; validation photos are never augmented."""

    policy: str = "medium"
    """`none`, `light`, `medium`, `strong`, `trivial` (a flip and TrivialAugment, Müller & Hutter 2021: one transform of
    random strength), or a path to your own file of albumentations (.yaml, .yml, .json); the study keeps a copy of the
    file."""
    erase: Fraction = 0.0
    """Probability that a random rectangle of a photo becomes noise (random erasing, Zhong 2020), after the policy; 0
    turns it off."""
    views: Annotated[int, Field(ge=0)] = 0
    """Number of distinct views of each photo; 0 makes a new one in every epoch."""
    cache_views: bool = False
    """Keep the views in the node's store, for machines with few cores per GPU. Does not change results."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of the Beta distribution of mixup's blending ratio (Zhang 2018); 0 turns mixup off."""
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of the Beta distribution of the share of a photo that cutmix covers (Yun 2019); 0 turns cutmix off. If
    both are on, each batch gets one of the two."""

    @property
    def varies(self) -> bool:
        """Whether views differ from the plain photo."""
        return self.policy != "none" or self.erase > 0.0

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, policy: str) -> str:
        if policy.endswith(POLICY_FILE_SUFFIXES):
            return policy
        return known_name(policy, AUGMENT_POLICIES, "augmentation policy")

    @model_validator(mode="after")
    def _cached_views_are_finite(self) -> "AugmentConfig":
        if self.cache_views and not self.views:
            raise ValueError("cache_views: with views 0 every epoch has its own views; set views to 1 or more")
        return self
