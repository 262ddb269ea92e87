"""How a final training reacts to a failed process: print a line and resume, or stop with an error."""

from collections.abc import Callable

from carcls.errors import DiskFullError
from search.errors import StudyError
from search.final.failure_texts import progress_text, retry_text, training_name
from search.policy.node_health import NODE_FAULTS
from search.policy.records import TrialRecord, TrialState
from search.study.final_members import fold_count
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.continuing import SAME_COMMAND
from search.worker.segment import Outcome


class FinalFailures:
    """The failures of a final training; see `search.driver.dispatch.Failures`.

    A process that died or ran out of memory is replaced. Any other failure ends the run, because there is no model
    without that training. No failure is final: a later call tries again from the last checkpoint.
    """

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        *,
        max_restarts: int,
        say: Callable[[str], None],
        is_interrupted: Callable[[], bool],
        start_over: str,
        again: str = SAME_COMMAND,
    ) -> None:
        """folder: the study's own. say: prints a line for the user. start_over: see `start_over_command`. again: see
        `retry_text`."""
        self._study = study
        self._folder = folder
        self._max_restarts = max_restarts
        self._say = say
        self._is_interrupted = is_interrupted
        self._start_over = start_over
        self._again = again
        self.error: Exception | None = None
        """Why the run cannot continue, or None."""

    def blames_configuration(self, outcome: Outcome) -> bool:
        """False: a later call may have more memory, or other data."""
        del outcome
        return False

    def ended(self, number: int, outcome: Outcome) -> str | None:
        """Prints how the training continues and returns None, or keeps and returns the error that ends the run."""
        record = self._study.record(number)
        if outcome.kind == "ended" and outcome.peak_memory_bytes is not None:
            self._study.set_value(peak_key(number), outcome.peak_memory_bytes)
        if record.state is TrialState.COMPLETE or self.error is not None:
            return None
        if outcome.gpu_fault and record.state is TrialState.WAITING and outcome.kind != "killed":
            self._say(f"{record.cause}: resuming from the last checkpoint on another GPU")
            return None
        if outcome.kind in NODE_FAULTS:
            # The dispatcher handles these itself: another node takes the training, or it waits for room or files, or
            # stops the run with the cause.
            return None
        if record.state is TrialState.FAIL and record.infeasible:
            self.error = StudyError(f"{self.what(record)}: {record.cause}; start over with '{self._start_over}'")
            return str(self.error)
        try:
            line = retry_text(
                outcome.with_user_cause(self._traceback(record)),
                self._study.config(number),
                deaths=record.restarts + (record.state is TrialState.FAIL),
                max_restarts=self._max_restarts,
                what=self.what(record),
                start_over=self._start_over,
                again=self._again,
            )
        except (StudyError, DiskFullError) as error:
            self.error = error
            return str(error)
        if not self._is_interrupted():
            self._say(line)
        return None

    def what(self, record: TrialRecord) -> str:
        """Which training, and how far it has come, for error messages."""
        progress = progress_text(record.reports, self._study.config(record.number))
        return f"{training_name(record, fold_count(self._study))} in {self._folder.root}, {progress}"

    def _traceback(self, record: TrialRecord) -> str | None:
        return record.traceback and f"the traceback is in {self._folder.root / record.traceback}"


def peak_key(number: int) -> str:
    """The study's key for the peak main memory, in bytes, of the last process of a training run."""
    return f"peak_memory_bytes:{number}"
