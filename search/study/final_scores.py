"""What the final training reported: its epochs, and its scores on the validation photos."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from carcls.events import EpochReport
from carcls.scoring.expectation import Interval, wilson
from carcls.scoring.gains import ViewEvidence
from carcls.scoring.paired_gain import PairedGain
from search.errors import StudyError
from search.study.efficiency import Efficiency, efficiency_lines
from search.study.finals_beside import score_again_command
from search.study.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class MemberScore:
    """One of several final trainings, on the photos of its fold, which it did not train on."""

    photos: int
    best_epoch: int
    best_stage: str
    accuracy: float
    """Plain, as is the log-loss."""
    log_loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Expected:
    """Accuracy to expect on new photos, corrected for the choices that the scored photos took part in."""

    accuracy: float
    low: float
    """Of a 95 % interval, by the number of photos."""
    high: float
    of: str
    """Whose accuracy: `the model`, or `one of its models` if no unseen photos showed how much averaging gains."""

    @property
    def line(self) -> str:
        """In words."""
        return f"expect on new photos: accuracy {self.accuracy:.3f} ({self.low:.3f} to {self.high:.3f}) of {self.of}"


@dataclass(frozen=True, slots=True)
class RefitScore:
    """A final training on all labelled photos but the holdout. No photo is left to score it."""

    photos: int
    stages: tuple[tuple[str, int], ...]
    """Name and epochs of each stage."""
    seconds: float

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON."""
        return cls(**{**values, "stages": tuple((str(name), int(epochs)) for name, epochs in values["stages"])})

    def line(self, found_by: str) -> str:
        """In words. found_by: what its length is from, which has the scores."""
        stages = " + ".join(f"{name} {epochs}" for name, epochs in self.stages)
        return (
            f"the exported model trained on all {self.photos:,} photos, {stages} epochs as {found_by} found; no photo"
            f" is left to score it, so the scores are those of {found_by}"
        )


@dataclass(frozen=True, slots=True)
class ExtraScore:
    """Extra or pseudo-labelled photos, measured by the first fold trained with and without them."""

    photos: int
    gain: PairedGain
    """They are in use if it helps."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after JSON."""
        return cls(values["photos"], PairedGain(**values["gain"]))

    def line(self, kind: str = "extra") -> str:
        """In words. kind: of photos, `extra` or `pseudo-labelled`."""
        gain = self.gain
        return (
            f"{self.photos:,} {kind} photos are {'used' if gain.helps else 'left out'}: with them the first training"
            f" saves {gain.saved:+.4f} nats a photo ({gain.low:+.4f} to {gain.high:+.4f}) on {gain.photos:,} validation"
            f" photos, accuracy {gain.accuracy_before:.4f} without and {gain.accuracy_after:.4f} with them"
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """Validation scores of the final training, at the image size of its best weights.

    With several folds they are out-of-fold: each photo is predicted by the one model that did not train on it. The
    exported average of all models is not scored; it tends to be better than they are.
    """

    best_epoch: int
    best_stage: str
    image_size: int | str
    validation_photos: int
    plain_accuracy: float
    plain_log_loss: float
    plain_correct: int
    tta_accuracy: float
    """Cross-fitted: each photo by views that were chosen without it."""
    tta_log_loss: float
    tta_interval: tuple[float, float]
    """Bootstrap interval of the log-loss that TTA saves per photo; `tta.confidence` wide."""
    tta_views: tuple[str, ...]
    """Views in use; `plain` alone where TTA does not help."""
    seconds: float
    device: str
    trial: int | None
    """The trial that it repeats; None for a fixed recipe."""
    tta_note: str | None = None
    """Why no view could be chosen; None where one could."""
    efficiency: Efficiency | None = None
    """None in files written before it was measured."""
    folds: int = 1
    """Trainings; best epoch and stage are those of the first."""
    out_of_fold: bool = False
    """True where the photos are all labelled ones but the holdout, each predicted by a model of another fold."""
    members: tuple[MemberScore, ...] = ()
    """Each training, in order of folds; empty where there is one."""
    expected: Expected | None = None
    """None in files of older versions."""
    tta_evidence: ViewEvidence | None = None
    """Of the views in use, or of the best ones rejected; None in older files, and for views without a prior."""
    extra: ExtraScore | None = None
    """What extra photos gained; None without any, and in older files."""
    pseudo: ExtraScore | None = None
    """The same for pseudo-labelled photos; their number is that of the first fold."""
    refit: RefitScore | None = None
    """The training on all photos, if it is the exported model; the scores are then those of what its length is from,
    see `refit_length_from`."""

    @property
    def refit_line(self) -> str | None:
        """The training on all photos in words, or None."""
        found_by = refit_length_from(self.folds, is_measured=bool(self.extra or self.pseudo))
        return None if self.refit is None else self.refit.line(found_by)

    @property
    def plain_interval(self) -> Interval:
        """95 % interval of the plain accuracy."""
        return wilson(self.plain_accuracy, self.validation_photos)


def refit_length_from(folds: int, *, is_measured: bool) -> str:
    """What tells how long a training on all photos lasts, and has the scores.

    is_measured: whether extra photos or pseudo-labels were measured, for which even without folds something validates.
    """
    if folds > 1:
        return "the folds"
    return "the training on the study's split" if is_measured else "the search's trial"


def read_scores(folder: StudyFolder) -> Scores:
    """What a final training's `scores.json` holds. Raises StudyError if it cannot be read."""
    path = folder.scores
    try:
        return scores_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        raise StudyError(
            f"{path}: cannot be read ({reason}): '{score_again_command(folder)}', with the same --trial and --set as"
            " before, writes it anew and trains nothing again"
        ) from error


def scores_from_json(values: Mapping[str, Any]) -> Scores:
    """Inverse of `dataclasses.asdict`, also after JSON. Raises TypeError and KeyError for anything else."""
    efficiency = values.get("efficiency")
    return Scores(
        **{
            **values,
            "tta_interval": tuple(values["tta_interval"]),
            "tta_views": tuple(values["tta_views"]),
            "efficiency": Efficiency.from_json(efficiency) if efficiency else None,
            "members": tuple(MemberScore(**member) for member in values.get("members", ())),
            "expected": Expected(**values["expected"]) if values.get("expected") else None,
            "tta_evidence": view_evidence(values.get("tta_evidence")),
            "refit": RefitScore.from_json(values["refit"]) if values.get("refit") else None,
            "extra": ExtraScore.from_json(values["extra"]) if values.get("extra") else None,
            "pseudo": ExtraScore.from_json(values["pseudo"]) if values.get("pseudo") else None,
        }
    )


def view_evidence(values: Mapping[str, Any] | None) -> ViewEvidence | None:
    """Inverse of `dataclasses.asdict`, also after JSON; None stays None."""
    return ViewEvidence(**{**values, "views": tuple(values["views"])}) if values else None


def read_reports(path: Path) -> tuple[EpochReport, ...]:
    """The epochs that an older carsearch wrote to `reports.jsonl`, none where there is no file; a line cut off in
    writing is left out."""
    if not path.exists():
        return ()
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return tuple(EpochReport.from_json(json.loads(line)) for line in whole.splitlines())


def score_lines(scores: Scores) -> tuple[str, ...]:
    """The scores in words, then what the training took, for the terminal."""
    low, high = scores.tta_interval
    rejected = scores.tta_note or "no TTA: it does not help here"
    used = ", ".join(scores.tta_views) if len(scores.tta_views) > 1 else rejected
    evidence = (scores.tta_evidence.line(),) if scores.tta_evidence else ()
    views_in_use = (f"views in use: {used}", *evidence)
    extra = (
        *((scores.extra.line(),) if scores.extra else ()),
        *((scores.pseudo.line("pseudo-labelled"),) if scores.pseudo else ()),
    )
    if scores.members:
        return (*expected_lines(scores), *_fold_lines(scores), *extra, *views_in_use, *_cost_lines(scores))
    return (
        *expected_lines(scores),
        f"best weights: epoch {scores.best_epoch}, stage {scores.best_stage}, {scores.image_size} px",
        f"validation, plain: accuracy {scores.plain_accuracy:.4f}"
        f" ({scores.plain_correct} of {scores.validation_photos}), log-loss {scores.plain_log_loss:.4f}",
        f"validation, TTA:   accuracy {scores.tta_accuracy:.4f}, log-loss {scores.tta_log_loss:.4f},"
        f" saved {low:+.4f} to {high:+.4f} per photo",
        *([scores.refit_line] if scores.refit_line else []),
        *extra,
        *views_in_use,
        *_cost_lines(scores),
    )


def expected_lines(scores: Scores) -> tuple[str, ...]:
    """What to expect on new photos, in one line; none if unknown."""
    return () if scores.expected is None else (scores.expected.line,)


def _fold_lines(scores: Scores) -> tuple[str, ...]:
    low, high = scores.plain_interval
    saved_low, saved_high = scores.tta_interval
    return (
        *(
            f"fold {number}: epoch {one.best_epoch}, stage {one.best_stage}, accuracy {one.accuracy:.4f} of"
            f" {one.photos} photos, log-loss {one.log_loss:.4f}"
            for number, one in enumerate(scores.members, start=1)
        ),
        f"out-of-fold, plain: accuracy {scores.plain_accuracy:.4f} ({low:.4f} to {high:.4f}, {scores.plain_correct} of"
        f" {scores.validation_photos}), log-loss {scores.plain_log_loss:.4f}",
        f"out-of-fold, TTA:   accuracy {scores.tta_accuracy:.4f}, log-loss {scores.tta_log_loss:.4f},"
        f" saved {saved_low:+.4f} to {saved_high:+.4f} per photo",
        scores.refit_line
        or f"the exported model averages {scores.folds} models at {scores.image_size} px; each photo above was"
        " predicted by the one that did not train on it",
    )


def _cost_lines(scores: Scores) -> tuple[str, ...]:
    return efficiency_lines(scores.efficiency, len(scores.tta_views)) if scores.efficiency else ()
