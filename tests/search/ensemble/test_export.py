"""The ensemble's files and messages, with models that are neither loaded nor exported."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from carcls.scoring.choices import HOTTEST
from carcls.splits.split_files import read_split
from search.ensemble import build
from search.ensemble.build import build_ensemble
from search.ensemble.selectable import Candidate, Photos, Weights
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.study.ensemble_scores import EnsembleScores
from search.study.folder import StudyFolder
from search.study.study import Study
from search.study.unseen_answers import UnseenAnswers
from tests.helpers.search.tiny import CLASSES
from tests.helpers.search.untrained_study import untrained_study

PHOTOS = 12
UNSEEN = tuple(map(str, range(PHOTOS)))
AVERAGED_MS = 4.0


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Experiment]:
    """Without views of test-time augmentation."""
    return untrained_study(tmp_path_factory.mktemp("export"), "data.validation.fraction=0.34", "tta.views=[plain]")


def said(photos: Photos, right: float, wrong: Sequence[int] = ()) -> np.ndarray:
    """Probabilities of a model that gives each photo's class so much, but half as much as the next one to some."""
    labels, rows = photos.labels, np.arange(len(photos.labels))
    found = np.full((len(labels), CLASSES), (1.0 - right) / (CLASSES - 1))
    found[rows, labels] = right
    for row in wrong:
        found[row] = 0.3
        found[row, (labels[row] + 1) % CLASSES] = 0.4
    return found


@pytest.fixture
def offer(searched: tuple[StudyFolder, Experiment], monkeypatch: pytest.MonkeyPatch):
    """A function that replaces the candidates by those of some wrong photos each. Exported models are noted."""
    folder, experiment = searched
    exported: list[dict[str, object]] = []

    def export(path: Path, model: object, **values: object) -> None:
        path.write_bytes(b"a model")
        exported.append(values)

    def offer(right: float, *wrong: Sequence[int]) -> list[dict[str, object]]:
        study = Study.open(folder.root, read_only=True)
        record, photos = study.record(0), Photos.of(read_split(folder.split, experiment.data.root))
        weights = Weights(folder.trial(0), study.config(0), record.reports[-1], record.reports[-1])
        candidates = []
        for place, rows in enumerate(wrong):
            one = said(photos, right, rows)
            by_view = {"plain": one.astype(np.float32)}
            unseen = UnseenAnswers(UNSEEN, ("plain",), np.stack([one] * 2).astype(np.float32))
            candidates.append(Candidate(f"model {place}", (weights,), one, 1.0, by_view=by_view, unseen=unseen))
        monkeypatch.setattr(build, "_pool", lambda *_: (photos, tuple(candidates)))
        return exported

    member = SimpleNamespace(model=None, size_px=32)
    monkeypatch.setattr(build, "load_member", lambda *_, **__: member)
    monkeypatch.setattr(build, "averaged", lambda *_: None)
    monkeypatch.setattr(build, "largest_size", lambda _: 32)
    monkeypatch.setattr(build, "timed", lambda found, *_: found)
    monkeypatch.setattr(build, "export_model", export)
    return offer


def built(
    searched: tuple[StudyFolder, Experiment], max_ms: float | None = None, *, averaged_ms: float = AVERAGED_MS
) -> EnsembleScores:
    folder, experiment = searched
    return build_ensemble(
        folder,
        experiment,
        most=3,
        max_ms=max_ms,
        say=lambda _: None,
        or_single=True,
        measure=lambda _, __, views: dict.fromkeys(views, averaged_ms),
    )


def test_a_few_photos_that_are_all_right_do_not_make_the_export_certain(searched, offer) -> None:
    exported = offer(0.6, ())
    scores = built(searched)
    assert scores.photos == PHOTOS
    assert scores.accuracy == 1.0
    assert (scores.is_kept, scores.expected) == (False, None), "it is of one model alone"
    assert 1.0 < scores.sharpness < HOTTEST / 2
    assert exported[0]["sharpness"] == scores.sharpness


def test_a_model_exported_in_place_of_a_refused_ensemble_tells_its_own_scores(searched, offer) -> None:
    offer(0.9, range(6), (*range(5), 6))  # together they are right about one more photo, which is too few to be sure
    scores = built(searched)
    assert (scores.is_kept, [one.name for one in scores.members]) == (False, ["model 0"])
    assert scores.accuracy == scores.best_accuracy == scores.members[0].accuracy == pytest.approx(1 - 6 / PHOTOS)
    assert scores.log_loss == scores.best_log_loss == scores.members[0].log_loss


def test_a_limit_that_no_choice_keeps_is_named_as_it_was_given_and_leaves_no_scores(searched, offer) -> None:
    folder, _ = searched
    offer(0.9, range(0, PHOTOS, 4), range(1, PHOTOS, 4), range(2, PHOTOS, 4))
    kept = built(searched)
    assert (kept.is_kept, len(kept.members)) == (True, 3)
    assert EnsembleScores.read(folder.ensemble_scores) == kept
    assert kept.expected is not None
    assert (kept.lines()[0], kept.expected.of) == (kept.expected.line, "the ensemble")
    with pytest.raises(StudyError, match=r"within 1\.5 ms a photo \(--max-ms\): no candidate may be selected"):
        built(searched, 1.5)
    assert not folder.ensemble_model.exists()
    assert not folder.ensemble_scores.exists(), "there is no such model any more"


def test_what_cannot_be_chosen_at_all_leaves_the_earlier_ensemble(searched, offer) -> None:
    folder, _ = searched
    offer(0.9, range(0, PHOTOS, 4), range(1, PHOTOS, 4))
    kept = built(searched)
    with pytest.raises(StudyError, match=r"within 0\.5 ms a photo \(--max-ms\): no candidate may be selected"):
        built(searched, 0.5)
    assert folder.ensemble_model.exists()
    assert EnsembleScores.read(folder.ensemble_scores) == kept


def test_only_trainings_that_take_photos_alike_are_averaged_and_others_named(searched) -> None:
    folder, experiment = searched
    study = Study.open(folder.root, read_only=True)
    report, photos = study.record(0).reports[-1], Photos.of(read_split(folder.split, experiment.data.root))

    def candidate(place: int, **keys: object) -> Candidate:
        config = study.config(0).model_copy(update=keys)
        wrong = range(place)  # in order, the best first
        return Candidate(
            f"model {place}", (Weights(folder.root, config, report, report),), said(photos, 0.9, wrong), 1.0
        )

    def kept(*sizes: dict[str, object]) -> tuple[list[str], list[str]]:
        told: list[str] = []
        found = [candidate(place, **keys) for place, keys in enumerate(sizes)]
        return [one.name for one in build._best(found, photos, told.append)], told

    pad = {"fit": "pad"}
    assert kept({}, {"image_size": 64}, {"image_size": (32, 64)}) == (["model 0", "model 1", "model 2"], [])
    assert kept(pad, pad | {"image_size": 64}) == (["model 0", "model 1"], [])
    line = "not a candidate: {}: one model cannot feed it with the photos of model 0, which are fitted by `{}` to 32"
    assert kept(pad, {}, pad | {"image_size": (32, 64)}, pad) == (
        ["model 0", "model 3"],
        [line.format("model 1, model 2", "pad")],
    )
    assert kept({}, pad) == (["model 0"], [line.format("model 1", "stretch")])
