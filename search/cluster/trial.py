"""What a worker runs: a fresh process per segment, forked from a server that has TensorFlow imported already.

    Ray actor (Tune's function trainable; no TensorFlow in it)
      └─ fork server: imports keras once, after Ray has set the actor's GPUs
           └─ child: one segment; its GPU memory is free when it exits

The child watches a pipe whose write end only the actor holds, and exits when it closes, so that a killed actor, raylet or
driver leaves no orphan (the fork server ends by itself when its last client is gone).
"""

import contextlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from search.cluster.segment import OUTCOME, Outcome, Segment, outcome_message, report_message
from search.folder import StudyFolder

_PRELOAD = ["carcls.training.stages", "carcls.data.source"]
_KILL_GRACE_S = 5.0


def run_segment(config: dict[str, Any]) -> None:
    """Tune's trainable: starts the child, passes its messages on, ends when it ends.

    `tune.report` blocks until the driver has recorded the message, and raises SystemExit when Tune stops the trial.
    """
    from ray import tune

    segment = Segment(**config["segment"])
    context = _fork_server()
    messages, child_messages = context.Pipe(duplex=False)
    child_lifeline, lifeline = context.Pipe(duplex=False)
    child = context.Process(target=_child_main, args=(segment, child_messages, child_lifeline), name="carsearch-trial")
    with _main_module_hidden():
        child.start()
    child_messages.close()
    child_lifeline.close()
    try:
        for message in _messages(messages, child):
            tune.report(message)
    finally:
        lifeline.close()
        _end(child)


def _fork_server() -> ForkServerContext:
    """The actor's fork server context; the server itself starts with the first child and keeps that environment."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps multiprocessing from running Ray's worker script again in every child (it re-imports `__main__` by path)."""
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


def _messages(pipe: Connection, child: ForkServerProcess) -> Iterator[dict[str, Any]]:
    """The child's messages in order; a child that dies without a word gets an Outcome of its own."""
    while True:
        wait([pipe, child.sentinel])
        if pipe.poll():
            try:
                message = pipe.recv()
            except EOFError:
                break
            yield message
            if OUTCOME in message:
                return
        elif not child.is_alive():
            break
    child.join()
    yield outcome_message(Outcome("killed", f"the trial's process died with exit code {child.exitcode}"))


def _end(child: ForkServerProcess) -> None:
    child.join(timeout=_KILL_GRACE_S)
    if child.is_alive():
        child.kill()
        child.join()




def _child_main(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's whole life. The one broad except of a trial: it records, and the search goes on."""
    threading.Thread(target=_exit_with_parent, args=(lifeline,), daemon=True).start()
    folder = StudyFolder(Path(segment.study)).trial(segment.number)
    attempt = folder / f"attempt-{segment.attempt}"
    attempt.mkdir(parents=True, exist_ok=True)
    _redirect_output(attempt / "output.log")
    try:
        _train(segment, folder, messages)
    except Exception as error:  # noqa: BLE001 - the trial boundary: whatever happened is recorded as data
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is the trial's output.log
        messages.send(outcome_message(_outcome_of(error)))
    else:
        messages.send(outcome_message(Outcome("ended")))
    messages.close()


def _exit_with_parent(lifeline: Connection) -> None:
    """Ends this process at once when the actor is gone: whatever was written is safe, checkpoints being atomic."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


def _redirect_output(path: Path) -> None:
    """Sends stdout and stderr, of C++ too, to the trial's folder."""
    with path.open("ab", buffering=0) as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _train(segment: Segment, folder: Path, messages: Connection) -> None:
    from carcls import devices
    from carcls.config import TrainConfig
    from carcls.data.folds import read_split
    from carcls.data.source import TrainingData
    from carcls.data.store import Store, default_store_root
    from carcls.training.stages import fine_tune

    devices.configure(
        threads=segment.threads, deterministic=segment.deterministic, gpu_memory_share=segment.gpu_share
    )
    split = read_split(StudyFolder(Path(segment.study)).split, Path(segment.data_root))
    store = Store(Path(segment.store_root) if segment.store_root else default_store_root())
    fine_tune(
        TrainConfig.model_validate(segment.config),
        TrainingData(split=split, store=store, view_seed=segment.view_seed, processes=segment.threads),
        lambda report: messages.send(report_message(report)),
        folder=folder,
        attempt=segment.attempt,
        resume=segment.resume,
        stop_after_stage=segment.stop_after_stage,
    )


def _outcome_of(error: Exception) -> Outcome:
    from carcls import devices
    from carcls.errors import TrainingError

    cause = f"{type(error).__name__}: {error}".splitlines()[0]
    infeasible = isinstance(error, TrainingError) or devices.is_out_of_memory(error)
    return Outcome("infeasible" if infeasible else "failed", cause)
