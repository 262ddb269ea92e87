"""The training configuration of a segment, with the study's own files at their current paths."""

from pathlib import Path

from carcls.config import TrainConfig
from search.experiment.file.paths import with_local_policies
from search.study.folder import StudyFolder
from search.worker.segment import Segment


def config_of(segment: Segment) -> TrainConfig:
    """The segment's configuration. Recorded paths of the study's own files are replaced by their current ones, because
    the study may have been moved."""
    tree = with_local_policies({"train": segment.config}, StudyFolder(Path(segment.study)).policies)
    return TrainConfig.model_validate(tree["train"])
