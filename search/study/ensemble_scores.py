"""What an ensemble is worth and costs, as it is stored in `ensemble/scores.json` and told in words."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carcls.system import atomic
from search.study.final_scores import Expected
from search.study.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class MemberShare:
    """One member."""

    name: str
    share: float
    """Of the average; all sum to 1."""
    accuracy: float
    """On the photos that chose it."""
    log_loss: float
    """After temperature scaling."""
    models: int
    """Trained models that it consists of: several for folds, one for a soup."""
    ms: float | None
    """Estimated milliseconds a photo; None if unknown."""


@dataclass(frozen=True, slots=True)
class EnsembleScores:
    """The result of `carsearch ensemble`. Log-losses are after temperature scaling."""

    is_kept: bool
    """False if it does not help: then there is no model."""
    members: tuple[MemberShare, ...]
    best: str
    """The best single candidate."""
    photos: int
    candidates: int
    accuracy: float
    """On the photos that chose the members, as are the next three."""
    log_loss: float
    best_accuracy: float
    best_log_loss: float
    fitted_accuracy: float
    """Cross-fitted: each photo by members, weights and temperature chosen without it."""
    fitted_log_loss: float
    single_accuracy: float
    """Cross-fitted: of the single candidate chosen without the photo."""
    single_log_loss: float
    interval: tuple[float, float]
    """Bootstrap interval of the cross-fitted log-loss saved per photo, `tta.confidence` wide."""
    sharpness: float = 1.0
    views: tuple[str, ...] = ("plain",)
    ms: float | None = None
    """Measured milliseconds a photo of the exported model, with its views."""
    ms_plain: float | None = None
    model_bytes: int | None = None
    expected: Expected | None = None
    """Accuracy on new photos; None if the members do not tell, and in files of older versions."""

    @classmethod
    def read(cls, path: Path) -> "EnsembleScores":
        """What `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            **{
                **values,
                "members": tuple(MemberShare(**member) for member in values["members"]),
                "interval": tuple(values["interval"]),
                "views": tuple(values["views"]),
                "expected": Expected(**values["expected"]) if values.get("expected") else None,
            }
        )

    def write(self, path: Path) -> None:
        """Writes JSON atomically."""
        atomic.write_text(path, json.dumps(asdict(self), indent=2))

    @property
    def models(self) -> int:
        """Trained models of all members."""
        return sum(member.models for member in self.members)

    def lines(self) -> tuple[str, ...]:
        """In words, for the terminal."""
        low, high = self.interval
        saved = self.single_log_loss - self.fitted_log_loss
        verdict = "kept" if self.is_kept else "refused: it is not sure to help"
        return (
            *((self.expected.line,) if self.expected else ()),
            *(self._member_line(member) for member in self.members),
            f"on the {self.photos} photos that chose them: accuracy {self.accuracy:.4f}, log-loss {self.log_loss:.4f};"
            f" {self.best} alone {self.best_accuracy:.4f}, {self.best_log_loss:.4f}",
            f"cross-fitted: accuracy {self.fitted_accuracy:.4f}, log-loss {self.fitted_log_loss:.4f}; a single model"
            f" {self.single_accuracy:.4f}, {self.single_log_loss:.4f}",
            f"saves {saved:+.4f} nats a photo ({low:+.4f} to {high:+.4f}): {verdict}",
            *self._cost_lines(),
        )

    def _member_line(self, member: MemberShare) -> str:
        cost = "" if member.ms is None else f", about {member.ms:.1f} ms a photo"
        models = f", {member.models} models" if member.models > 1 else ""
        return (
            f"{member.share:.0%} {member.name}: accuracy {member.accuracy:.4f}, log-loss {member.log_loss:.4f}"
            f"{models}{cost}"
        )

    def _cost_lines(self) -> tuple[str, ...]:
        if self.ms is None or self.ms_plain is None:
            return ()
        views = f", {self.ms:.1f} ms with {', '.join(self.views)}" if len(self.views) > 1 else ""
        return (
            f"the exported model: {self.ms_plain:.1f} ms a photo{views}; its log-probabilities times"
            f" {self.sharpness:.2f}",
        )


def read_ensemble(folder: StudyFolder) -> EnsembleScores | None:
    """What is told of a study's exported ensemble; None without one, or if its scores cannot be read."""
    if not folder.ensemble_model.exists():
        return None
    try:
        return EnsembleScores.read(folder.ensemble_scores)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # `carsearch ensemble` writes it anew
        return None
