"""A study without a disk: the trials of a simulated search."""

from collections.abc import Mapping

from carcls.events import EpochReport, PhaseSeconds
from search.experiment.domains import Value
from search.policy import transitions
from search.policy.failures import may_restart
from search.policy.trial_book import TrialBook
from search.simulator.curves import CurvePoint


class VirtualStudy(TrialBook):
    """Keeps records in memory, changed as a real study changes them."""

    def __init__(self, *, max_restarts: int) -> None:
        super().__init__()
        self._max_restarts = max_restarts

    def add(
        self, params: Mapping[str, Value], *, stage_count: int, is_baseline: bool = False, repeats: int | None = None
    ) -> int:
        """A new trial, WAITING; returns its number. `repeats`: the trial that it is to repeat."""
        number = len(self._records)
        self._records.append(
            transitions.new_trial(number, params, stage_count=stage_count, is_baseline=is_baseline, repeats=repeats)
        )
        return number

    def killed(self, number: int, cause: str) -> None:
        """RUNNING -> WAITING, or FAIL where it died too often in one place."""
        if may_restart(self.record(number), self._max_restarts):
            self.interrupt(number, cause)
        else:
            self.fail(number, cause, infeasible=False)

    def prune(self, number: int) -> None:
        """RUNNING or PAUSED -> PRUNED before its end: what a policy of our own never does, and peers do."""
        self._change(transitions.pruned(self.record(number)))


def report_of(point: CurvePoint, *, epoch: int, stage_epoch: int) -> EpochReport:
    """An epoch of a curve as a trial would report it: all seconds are training, what curves do not tell is neutral."""
    return EpochReport(
        epoch=epoch,
        stage=point.stage,
        stage_name=f"stage {point.stage}",
        stage_epoch=stage_epoch,
        stage_ended=point.stage_ended,
        train_loss=0.0,
        train_accuracy=0.0,
        val_log_loss=point.val_log_loss,
        val_accuracy=point.val_accuracy,
        val_macro_f1=point.val_accuracy,
        learning_rate=0.0,
        image_size=0,
        images_per_s=0.0,
        trainable_parameters=0,
        seconds=PhaseSeconds(train=point.seconds, validate=0.0),
        checkpoint=f"epoch-{epoch:04d}.npz",
        best_weights=f"best-{epoch:04d}.npz",
        holdout_accuracy=point.holdout_accuracy,
        holdout_log_loss=point.holdout_log_loss,
        val_scaled_log_loss=point.val_scaled_log_loss,
        kept_epoch=point.kept_epoch,
    )
