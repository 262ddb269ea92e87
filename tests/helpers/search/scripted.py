"""A worker that follows a script instead of training: the same child under every executor.

It is a module of its own because the fork server's children import their main function.
"""

import contextlib
import json
import logging
import os
import platform
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.scoring.evidence import Evidence
from carcls.training.retention import best_name, checkpoint_name, epoch_of
from search.study.folder import StudyFolder
from search.worker.gpu_names import granted_gpus
from search.worker.lifeline import HAND_OVER
from search.worker.segment import Granted, Notice, Outcome, Segment, to_wire
from search.worker.supervisor import worker_messages
from tests.helpers.search.processes import wait_until
from tests.helpers.search.trial_builders import epoch_report

SCRIPT = "script.json"
STAGES = (0, 0, 1)
"""Stage of each epoch, as the tiny experiment has them."""
EVIDENCE = Evidence(np.array([[0.25, 0.75]], np.float16))

Script = Mapping[str, Sequence[str]]
"""By `number/attempt`, what a segment's child does before it reports up to its rung: `epoch`, `notice`, `die`, `hang`,
`fail`, `no room`, `break gpu 1`, `until asked`."""

SAVED = "saved after 1 of 3 batches"
"""What a child says that waited `until asked` to hand over."""


def write_script(root: Path, script: Script) -> None:
    """Writes the script for the study in `root`."""
    (root / SCRIPT).write_text(json.dumps(script), encoding="utf-8")


def scripted_segment(config: dict[str, Any]) -> None:
    """Like `run_segment`, with a scripted child."""
    from ray import tune

    from search.on_ray.cluster.drain_watch import should_hand_over

    segment = Segment(**config["segment"])
    with contextlib.closing(worker_messages(segment, scripted_child, is_leaving=should_hand_over)) as messages:
        for message in messages:
            tune.report(to_wire(message))


def scripted_segment_in_actor(config: dict[str, Any]) -> None:
    """`run_segment` itself, with a scripted child."""
    from search.on_ray.actor import run_in_actor

    run_in_actor(Segment(**config["segment"]), scripted_child)


def scripted_child(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function."""
    root = Path(segment.study)
    place = {"gpu": segment.gpu, "threads": segment.threads}
    (root / f"pid-{os.getpid()}").write_text(json.dumps(place), encoding="utf-8")
    script: Script = json.loads((root / SCRIPT).read_text(encoding="utf-8"))
    child = _Child(segment, messages, lifeline)
    for step in script.get(f"{segment.number}/{segment.attempt}", ()):
        if not child.does(step):
            return
    child.train_to_the_rung()
    messages.send(Outcome("ended"))


class _Child:
    def __init__(self, segment: Segment, messages: Connection, lifeline: Connection) -> None:
        self._segment = segment
        self._messages = messages
        self._lifeline = lifeline
        self._epoch = epoch_of(segment.resume) if segment.resume else 0

    def does(self, step: str) -> bool:
        """False if that ended the child."""
        match step:
            case "epoch":
                self._train()
            case "notice":
                self._messages.send(Notice(logging.WARNING, "a word from the node"))
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "fail":
                self._messages.send(Outcome("failed", "KeyError: 'x'"))
                return False
            case "until asked":
                while self._lifeline.recv_bytes() != HAND_OVER:
                    pass
                self._messages.send(Outcome("preempted", SAVED))
                return False
            case "break gpu 1":
                return self._keeps_its_gpu()
            case "no room":
                self._messages.send(Outcome("out_of_memory", "no room", stage=STAGES[self._epoch]))
                return False
            case _:
                raise ValueError(step)
        return True

    def _keeps_its_gpu(self) -> bool:
        """GPU 1 of this machine fails once another one is in use, which waits until that has happened twice."""
        segment = self._segment
        gpus = granted_gpus(os.environ, gpu_share=segment.gpu_share or 1.0, gpu=segment.gpu, node=platform.node())
        self._messages.send(Granted(gpus or ""))
        root = Path(segment.study)
        if gpus == f"GPU 1 of {platform.node()}":
            wait_until((root / "in-use").exists, "another GPU in use")
            (root / f"broken-{os.getpid()}").touch()
            self._messages.send(Outcome("killed", "GPU has fallen off the bus", gpu_fault=True))
            return False
        (root / "in-use").touch()
        wait_until(lambda: len(list(root.glob("broken-*"))) > 1, "two faults", within_s=200)
        return True

    def train_to_the_rung(self) -> None:
        while self._epoch < len(STAGES) and STAGES[self._epoch] <= self._segment.stop_after_stage:
            self._train()

    def _train(self) -> None:
        self._epoch += 1
        report = self._report()
        for name in (report.checkpoint, report.best_weights):
            path = StudyFolder(Path(self._segment.study)).trial(self._segment.number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
        self._messages.send(report)

    def _report(self) -> EpochReport:
        stage, attempt = STAGES[self._epoch - 1], self._segment.attempt
        ended = self._epoch == len(STAGES) or STAGES[self._epoch] > stage
        cut = self._segment.micro_batch[stage] if self._segment.micro_batch else None
        seed = TrainConfig.model_validate(self._segment.config).seed
        return replace(
            epoch_report(self._epoch, stage=stage, accuracy=0.5 + seed % 7 / 100, ended=ended),
            checkpoint=checkpoint_name(attempt, self._epoch),
            best_weights=best_name(attempt, self._epoch),
            micro_batch=cut,
            evidence=EVIDENCE,
        )
