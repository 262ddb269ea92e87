"""Records what a user asks of a search: stop a trial, promote one, add one.

While a driver runs, requests reach it as files, see `search.study.requests`; otherwise they are recorded at once.
"""

from collections.abc import Mapping

from search.errors import ExperimentError, Problem, SearchError, StudyError
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.file.domain_syntax import plain_value
from search.experiment.file.yaml_source import Plain
from search.policy import transitions
from search.policy.records import TrialRecord, TrialState
from search.study.driver_life import has_driver
from search.study.folder import StudyFolder
from search.study.requests import Add, Promote, Request, Stop, new_id, read_request, waiting_requests, write_request
from search.study.study import Study
from search.terminal.logs import get_logger

_log = get_logger(__name__)
_IDLE = (TrialState.WAITING, TrialState.PAUSED)


def ask(folder: StudyFolder, experiment: Experiment, request: Request) -> int | None:
    """Records a request, or leaves it to the driver that holds the study.

    Returns the trial's number once recorded, or None if it waits for the driver. Raises StudyError or ExperimentError
    for a request that the study cannot follow as it is recorded now.
    """
    check(Study.open(folder.root, read_only=True), experiment, request)
    if has_driver(folder):
        write_request(folder, request)
        return None
    with Study.open(folder.root) as study:
        take_requests(study, folder, experiment)  # older ones first
        return record_request(study, experiment, request, new_id())


def check(study: Study, experiment: Experiment, request: Request) -> None:
    """Raises StudyError or ExperimentError if a study cannot follow a request. Changes nothing."""
    if study.is_recording:
        raise StudyError(f"{study.name} records curves by a plan of its own: its trials cannot be steered")
    match request:
        case Stop(number):
            transitions.stop_asked(study.record(number))
        case Promote(number, stage):
            transitions.promotion_asked(study.record(number), stage)
        case Add(params):
            if not study.records():
                raise StudyError("the study has no trial yet, and the baseline comes first: run the search, then add")
            experiment.bind(params)


def record_request(study: Study, experiment: Experiment, request: Request, request_id: str) -> int:
    """Writes a request to the study; returns the trial's number. Raises the errors of `check`."""
    check(study, experiment, request)
    match request:
        case Stop(number):
            study.ask_stop(number)
        case Promote(number, stage):
            study.ask_promotion(number, stage)
        case Add(params):
            known = next((trial.number for trial in study.records() if trial.request == request_id), None)
            if known is not None:  # recorded by a driver that was killed before it deleted the file
                return known
            return study.add_trial(params, experiment.bind(params), space=experiment.space, request=request_id)
    return request.trial


def take_requests(study: Study, folder: StudyFolder, experiment: Experiment) -> tuple[int, ...]:
    """Records the requests that wait, the oldest first, and deletes their files; returns the trials' numbers.

    Those that the study cannot follow any more are dropped with a warning. Before the first trial nothing is taken.
    """
    waiting = list(waiting_requests(folder))
    if not waiting or not study.records():
        return ()
    numbers = []
    for path in waiting:
        try:
            numbers.append(record_request(study, experiment, read_request(path), path.stem))
        except SearchError as error:
            _log.warning("a request is dropped: %s", error)
        except OSError as error:
            _log.warning("%s: cannot be read now: %s", path, error.strerror or error)
            continue
        path.unlink(missing_ok=True)
    return tuple(numbers)


class Steering:
    """A driver's side of it. Remembers which trials are being stopped, so that a report looks at no others."""

    def __init__(self, study: Study, folder: StudyFolder, experiment: Experiment) -> None:
        self._study = study
        self._folder = folder
        self._experiment = experiment
        self._stopping = {record.number for record in study.records() if record.stop_asked}

    def take(self) -> tuple[int, ...]:
        """Records the requests that wait, and ends the trials that the user asked to stop and that train no more.

        Returns the numbers of those that this call ended.
        """
        taken = take_requests(self._study, self._folder, self._experiment)
        self._stopping.update(number for number in taken if self._study.record(number).stop_asked)
        ended = []
        for number in sorted(self._stopping):
            state = self._study.record(number).state
            if state in _IDLE:
                self._study.end_stopped(number)
            if state in _IDLE or (state is TrialState.PRUNED and number in taken):
                ended.append(number)
            if state is not TrialState.RUNNING:
                self._stopping.remove(number)
        return tuple(ended)


def promotion(record: TrialRecord) -> Promote:
    """A request that sends a trial one rung further than it goes by itself. Raises StudyError if it goes to its last
    stage already, or has not started."""
    if record.stop_after_stage is None:
        raise StudyError(f"trial {record.number} has not started: promote it once it trains")
    stage = max(record.stop_after_stage, record.promoted_to or 0) + 1
    if stage >= record.stage_count and record.state in (*_IDLE, TrialState.RUNNING):
        raise StudyError(f"trial {record.number} goes to its last stage already")
    return Promote(record.number, min(stage, record.stage_count - 1))


def new_trial(experiment: Experiment, base: Mapping[str, Value], changes: Mapping[str, Plain]) -> Add:
    """A request for a configuration: `base` with changes by parameter, with or without `train.` in front.

    A size may be a list, as in the file. Parameters that a changed option makes active get their defaults. Raises
    ExperimentError naming each change that is no parameter of the space, inactive or out of range.
    """
    space = experiment.space
    full: dict[str, Value] = {
        name if name in space.domains else f"train.{name}": plain_value(value) for name, value in changes.items()
    }
    unknown = [name for name in full if name not in space.domains]
    if unknown:
        searched = ", ".join(space.domains)
        raise ExperimentError(
            tuple(
                Problem("--set", name.removeprefix("train."), f"is not searched in this study; searched are {searched}")
                for name in unknown
            )
        )
    values = {**base, **full}
    params = space.collect(lambda parameter: values.get(parameter.name, parameter.domain.default()))
    params |= {name: value for name, value in full.items() if name not in params}  # inactive: `bind` says so
    experiment.bind(params)
    return Add(params)
