"""What the end of a training's process means to a final training: for its user, a line or an error."""

from collections.abc import Callable

from carcls.config import TrainConfig
from carcls.errors import DiskFullError
from search.errors import StudyError
from search.final.standing import standing, too_often_text
from search.policy.oom import OomKey, OomRecord, micro_batch, smallest_micro_batch, worth_retrying
from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome

_WAITED_FOR = ("disk_full", "unavailable")
"""The dispatcher says so itself, and goes on once there is room or the files are back."""


class FinalEnds:
    """The failures of a final training, see `search.driver.dispatch.Failures`: a process that died or had no room is
    replaced, and any other failure ends the run, for without that training there is no model. No failure is final: a
    later call tries again from the last checkpoint."""

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        *,
        max_restarts: int,
        say: Callable[[str], None],
        is_interrupted: Callable[[], bool],
    ) -> None:
        """folder: the study's own. say: tells the user a line."""
        self._study = study
        self._folder = folder
        self._max_restarts = max_restarts
        self._say = say
        self._is_interrupted = is_interrupted
        self.error: Exception | None = None
        """Why the run cannot go on, or None."""

    def blames_configuration(self, outcome: Outcome) -> bool:
        """False: a later call may have more memory, or other data."""
        del outcome
        return False

    def ended(self, number: int, outcome: Outcome) -> str | None:
        """Says how it goes on, or keeps the error with which the run ends."""
        record = self._study.record(number)
        if outcome.kind == "ended" and outcome.peak_memory_bytes is not None:
            self._study.set_value(peak_key(number), outcome.peak_memory_bytes)
        if record.state is TrialState.COMPLETE or self.error is not None or outcome.kind in _WAITED_FOR:
            return None
        if record.state is TrialState.FAIL and record.infeasible:
            self.error = StudyError(f"{self.what(record)}: {record.cause}; begin it anew by '--replace'")
            return str(self.error)
        try:
            line = line_or_error(
                outcome.told(self._traceback(record)),
                self._study.config(number),
                deaths=record.restarts + (record.state is TrialState.FAIL),
                max_restarts=self._max_restarts,
                what=self.what(record),
            )
        except (StudyError, DiskFullError) as error:
            self.error = error
            return str(error)
        if not self._is_interrupted():
            self._say(line)
        return None

    def what(self, record: TrialRecord) -> str:
        """Which training, and where it stands, for errors."""
        place = standing(record.reports, self._study.config(record.number))
        return f"{named(record, len(self._study.records()))} in {self._folder.root}, {place}"

    def _traceback(self, record: TrialRecord) -> str | None:
        return record.traceback and f"the traceback is in {self._folder.root / record.traceback}"


def peak_key(number: int) -> str:
    """Under which the study keeps the most main memory, in bytes, that a training's last process held."""
    return f"peak_memory_bytes:{number}"


def named(record: TrialRecord, count: int) -> str:
    """`the final training`, or, where there are several, `fold 2 of 4 of the final training`. Pure."""
    return "the final training" if record.fold is None else f"fold {record.fold + 1} of {count} of the final training"


def line_or_error(outcome: Outcome, config: TrainConfig, *, deaths: int, max_restarts: int, what: str) -> str:
    """After a child's end, for its user: the line with which a fresh child goes on. Pure.

    deaths: of children since the last epoch, this one counted. what: the training, for errors. Raises StudyError where
    no child would do better, DiskFullError for a full disk.
    """
    match outcome.kind:
        case "out_of_memory" if outcome.oom_record is not None:
            found = OomRecord.from_json(outcome.oom_record)
            if not worth_retrying(config, found):
                raise StudyError(no_room_text(found.key, outcome, config, what))
            stage = outcome.stage or 0
            next_try = micro_batch([found], config, stage, found.key.device) or config.batch_size
            is_same = next_try >= found.photos
            return (
                f"no room for {found.photos} photos at once in stage {config.stages[stage].name!r}: going on from the"
                f" last checkpoint with {'as many once more' if is_same else f'at most {next_try}'}"
            )
        case "killed" if deaths <= max_restarts:
            return f"{outcome.cause}: going on from the last checkpoint"
        case "killed":
            raise StudyError(too_often_text(outcome, what, deaths=deaths, max_restarts=max_restarts))
        case "disk_full":
            raise DiskFullError(outcome.cause or what)
        case _:
            raise StudyError(outcome.cause or f"{what} {outcome.kind} without a cause")


def no_room_text(key: OomKey, outcome: Outcome, config: TrainConfig, what: str) -> str:
    """What, where, and what to do, where not even the fewest photos have room. Pure."""
    stage = config.stages[outcome.stage or 0].name
    cause = (outcome.cause or "").partition(";")[0]  # what follows there is advice for those who have room to lower
    return (
        f"{what}: no room for stage {stage!r}: not even {smallest_micro_batch(config)} photos at once fit at"
        f" {key.image_size} px through {key.backbone} on {key.device} ({cause}). Begin it anew, by"
        " --replace, with a smaller image size or backbone (--set retrain.image_size=... for 'carsearch retrain', the"
        " file's train section for 'carsearch train'), or call the same command again where there is more memory: every"
        " finished epoch is kept"
    )
