"""The configuration of one training run: frozen, typed, validated once. All its defaults are defined here."""

from carcls.config.augment import AugmentConfig
from carcls.config.head import HeadConfig, HeadLayer
from carcls.config.stage import EarlyStoppingConfig, OptimizerConfig, ScheduleConfig, StageConfig
from carcls.config.training import Precision, RankBy, TrainConfig

__all__ = [
    "AugmentConfig",
    "EarlyStoppingConfig",
    "HeadConfig",
    "HeadLayer",
    "OptimizerConfig",
    "Precision",
    "RankBy",
    "ScheduleConfig",
    "StageConfig",
    "TrainConfig",
]
