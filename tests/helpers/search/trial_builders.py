"""Plain records for the tests of TensorBoard, progress and report."""

from collections.abc import Mapping, Sequence

from carcls.events import EpochReport, PhaseSeconds
from search.policy.records import TrialRecord, TrialState

STAGE_NAMES = ("head", "half", "full")


def epoch_report(epoch: int, *, stage: int = 0, accuracy: float = 0.5, ended: bool = False) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        stage=stage,
        stage_name=STAGE_NAMES[stage],
        stage_epoch=epoch,
        stage_ended=ended,
        train_loss=2.0 - accuracy,
        train_accuracy=accuracy + 0.125,
        val_log_loss=1.0 - accuracy,
        val_accuracy=accuracy,
        val_macro_f1=accuracy - 0.125,
        learning_rate=0.25,
        image_size=96 + 32 * stage,
        images_per_s=40.0 + epoch,
        trainable_parameters=1000 * (stage + 1),
        seconds=PhaseSeconds(train=3.0, validate=0.5, build=0.25),
        checkpoint=f"attempt-0/epoch-{epoch:04d}.npz",
        best_weights=f"attempt-0/best-{epoch:04d}.npz",
    )


def climb(*stages: Sequence[float]) -> tuple[EpochReport, ...]:
    """Reports of complete stages, from the validation accuracies of each."""
    epochs = [(stage, at, value) for stage, values in enumerate(stages) for at, value in enumerate(values)]
    return tuple(
        epoch_report(number, stage=stage, accuracy=value, ended=at == len(stages[stage]) - 1)
        for number, (stage, at, value) in enumerate(epochs, start=1)
    )


def trial(
    number: int,
    state: TrialState,
    reports: tuple[EpochReport, ...] = (),
    *,
    params: Mapping[str, object] | None = None,
    cause: str | None = None,
    infeasible: bool = False,
) -> TrialRecord:
    return TrialRecord(
        number=number,
        params=dict(params or {"train.batch_size": 16}),
        state=state,
        stage_count=len(STAGE_NAMES),
        reports=reports,
        attempts=1,
        infeasible=infeasible,
        cause=cause,
        is_baseline=number == 0,
    )
