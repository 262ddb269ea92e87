"""Small blackboxes for the tests of the simulator, with fixed results for each trial."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from search.experiment.domains import Value
from search.experiment.space import Space
from search.experiment.template import space_of
from search.policy.policy import Proposal
from search.policy.records import TrialRecord
from search.simulator.blackboxes import Training
from search.simulator.curves import Curve, CurvePoint

LINE = space_of({"x": {"uniform": [0.0, 1.0]}})


def curve(
    *stages: Sequence[float],
    seconds: float = 1.0,
    stage_count: int | None = None,
    infeasible: bool = False,
    is_baseline: bool = False,
    params: Mapping[str, Value] | None = None,
    seed: int = 0,
) -> Curve:
    """From validation accuracies by stage and epoch; holdout accuracies are smaller by an eighth."""
    points = tuple(
        CurvePoint(
            stage=stage,
            stage_ended=at == len(values),
            val_accuracy=value,
            val_log_loss=1.0,
            holdout_accuracy=value - 0.125,
            holdout_log_loss=1.0,
            seconds=seconds,
        )
        for stage, values in enumerate(stages)
        for at, value in enumerate(values, start=1)
    )
    return Curve(params or {}, seed, stage_count or len(stages), points, infeasible, is_baseline)


@dataclass(frozen=True)
class InOrder:
    """Trial n gets curve n, regardless of its parameters."""

    curves: Sequence[Curve]
    space: Space = LINE

    @property
    def baseline(self) -> Mapping[str, Value]:
        return self.space.default()

    @property
    def size(self) -> int:
        return len(self.curves)

    def train(self, proposal: Proposal, *, taken: Set[int], seed: int) -> Training:
        row = len(taken)
        return Training(replace(self.curves[row], params=proposal.params), row)


@dataclass
class Log:
    """All calls of a listener, in order."""

    heard: list[tuple[str, TrialRecord]] = field(default_factory=list)

    def started(self, record: TrialRecord) -> None:
        self.heard.append(("started", record))

    def reported(self, record: TrialRecord, *, stopped: bool) -> None:
        self.heard.append(("stopped" if stopped else "reported", record))

    def ended(self, record: TrialRecord) -> None:
        self.heard.append(("ended", record))
