"""What a segment's child trains, with the files that its study owns named where the study lies now."""

from pathlib import Path

from carcls.config import TrainConfig
from search.experiment.paths import at_home
from search.study.folder import StudyFolder
from search.worker.segment import Segment


def config_of(segment: Segment) -> TrainConfig:
    """The segment's configuration. What the study has recorded names its copies of files by where it was made."""
    tree = at_home({"train": segment.config}, StudyFolder(Path(segment.study)).policies)
    return TrainConfig.model_validate(tree["train"])
