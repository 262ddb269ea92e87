"""The page's section about the final training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.report.sections.confidence import Interval, wilson
from search.study.efficiency import Efficiency
from search.study.final_scores import Expected, ExtraScore, MemberScore, RefitScore, refit_length_from, view_evidence


@dataclass(frozen=True, slots=True)
class FinalTraining:
    """Validation scores of the final training."""

    trial: int | None
    best_stage: str
    best_epoch: int
    image_size: int | str
    photos: int
    plain_accuracy: float
    plain_interval: Interval
    plain_log_loss: float
    tta_accuracy: float
    tta_interval: Interval
    tta_log_loss: float
    log_loss_saved: Interval
    """Bootstrap interval of what TTA saves per photo, in nats."""
    views: tuple[str, ...]
    tta_note: str | None
    seconds: float
    device: str
    efficiency: Efficiency | None
    folds: int = 1
    members: tuple[MemberScore, ...] = ()
    """One for each fold, on the fold's photos; empty without folds. The scores above are then out-of-fold."""
    expected: Expected | None = None
    """Expected accuracy on new photos; None in older files."""
    view_evidence: str | None = None
    """What TTA saves here, by the prior, and by both."""
    refit: str | None = None
    """What was trained on all photos, in words; None if nothing was."""
    extra: str | None = None
    """What extra photos gained, in words; None without any."""
    pseudo: str | None = None
    """The same for pseudo-labelled photos."""


def final_training(scores: Mapping[str, Any]) -> FinalTraining:
    """Reads the values of `retrain/scores.json`. Pure.

    Raises KeyError if a score is missing. Values that older files lack are None.
    """
    photos = int(scores["validation_photos"])
    refit = RefitScore.from_json(scores["refit"]) if scores.get("refit") else None
    found_by = refit_length_from(scores.get("folds", 1), is_measured=bool(scores.get("extra") or scores.get("pseudo")))
    low, high = scores["tta_interval"]
    evidence = view_evidence(scores.get("tta_evidence"))
    return FinalTraining(
        trial=scores["trial"],
        best_stage=scores["best_stage"],
        best_epoch=scores["best_epoch"],
        image_size=scores["image_size"],
        photos=photos,
        plain_accuracy=scores["plain_accuracy"],
        plain_interval=wilson(scores["plain_accuracy"], photos),
        plain_log_loss=scores["plain_log_loss"],
        tta_accuracy=scores["tta_accuracy"],
        tta_interval=wilson(scores["tta_accuracy"], photos),
        tta_log_loss=scores["tta_log_loss"],
        log_loss_saved=(low, high),
        views=tuple(scores["tta_views"]),
        tta_note=scores.get("tta_note"),
        seconds=scores["seconds"],
        device=scores["device"],
        efficiency=Efficiency.from_json(scores["efficiency"]) if scores.get("efficiency") else None,
        folds=scores.get("folds", 1),
        members=tuple(MemberScore(**member) for member in scores.get("members", ())),
        expected=Expected(**scores["expected"]) if scores.get("expected") else None,
        view_evidence=evidence.line() if evidence else None,
        pseudo=ExtraScore.from_json(scores["pseudo"]).line("pseudo-labelled") if scores.get("pseudo") else None,
        extra=ExtraScore.from_json(scores["extra"]).line() if scores.get("extra") else None,
        refit=None if refit is None else refit.line(found_by),
    )
