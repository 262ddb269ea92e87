"""The photos of a segment: the study's split or fold, with extra and pseudo-labelled photos if it trains on them."""

from pathlib import Path

from carcls.dataset.table import ImageTable
from carcls.splits.extra import with_extra
from carcls.splits.split import Split
from carcls.store import Store
from search.experiment.node_store import photos_folder
from search.experiment.settings import StoreSettings
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_extra, read_study_split, shared_tables
from search.worker.pseudo_job import PseudoJob
from search.worker.pseudo_photos import Tell, pseudo_photos
from search.worker.segment import Segment
from search.worker.segment_config import config_of


def segment_photos(
    segment: Segment,
    study: StudyFolder,
    data_root: Path,
    store: Store,
    *,
    at_once: int | None = None,
    tell: Tell = lambda level, text: None,
) -> tuple[Split, tuple[ImageTable, ...]]:
    """The split, and the tables that share their pixels with other trainings.

    data_root: the data folder on this node. Labels unlabelled photos if the segment asks for it and nothing did before;
    at_once, tell: for that, see `pseudo_photos`. Raises DataError, CheckpointError, and for extra photos at a URL the
    errors of `photos_folder`.
    """
    split = read_study_split(study, data_root, segment.split_digest, fold=segment.fold)
    shared = shared_tables(study, data_root, fold=segment.fold)
    own = shared or (split.train, split.validation)
    if segment.extra_root:
        extra_root = photos_folder(segment.extra_root, StoreSettings.model_validate(segment.store))
        extra = read_study_extra(study, extra_root, segment.extra_digest)
        split, shared = with_extra(split, extra), (*(shared or own), extra.photos)
    if segment.pseudo:
        labelled, others = pseudo_photos(
            study,
            segment.number,
            PseudoJob.from_json(segment.pseudo),
            data_root=data_root,
            config=config_of(segment),
            class_names=split.class_names,
            store=store,
            processes=segment.threads,
            at_once=at_once,
            tell=tell,
        )
        split, shared = with_extra(split, labelled), (*(shared or own), others)
    return split, shared
