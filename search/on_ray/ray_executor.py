"""Ray Tune as an executor: each Tune trial is one segment, on any node with room.

See `search.driver.executor` for the contract.
"""

import os
import shutil
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.error import TuneError

from carcls.errors import DiskFullError
from carcls.system.atomic import full_disk_cause, unreachable_cause
from search.driver.dispatch import Dispatcher
from search.driver.interrupts import INTERRUPTED, Interrupts
from search.errors import ClusterError, StudyError
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.actor import run_segment
from search.on_ray.nodes import ResourcePlan
from search.on_ray.tune_adapters import tune_adapters
from search.study.folder import StudyFolder
from search.worker.segment import Segment


class RayExecutor:
    """Runs on the Ray that this process is connected to. Call `run` on the main thread, which receives Ctrl-C."""

    def __init__(
        self,
        folder: StudyFolder,
        resources: ResourcePlan,
        *,
        deadline: DeadlineSettings,
        interrupts: Interrupts,
        how: str,
        trainable: Callable[[dict[str, Any]], None] = run_segment,
    ) -> None:
        """how: how the user continues after an error, for messages. trainable: same signature as `run_segment`."""
        self._folder = folder
        self._resources = resources
        self._deadline = deadline
        self._interrupts = interrupts
        self._how = how
        self._trainable = trainable

    def run(self, dispatcher: Dispatcher[Segment]) -> None:
        """See `Executor.run`."""
        tuner = self._tuner(dispatcher)
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # `Interrupts` handles SIGINT
        try:
            with self._interrupts.listening(lambda: dispatcher.stop(INTERRUPTED)):
                tuner.fit()
        except KeyboardInterrupt:
            dispatcher.stop(INTERRUPTED)
            if self._interrupts.error is not None:
                raise self._interrupts.error from None
        except RuntimeError as error:
            raise ClusterError(f"Ray failed: {error}; {self._how}") from error
        except (OSError, TuneError) as error:
            full, away = full_disk_cause(error), unreachable_cause(error)
            if full is not None:
                raise DiskFullError(f"{full}; then {self._how}") from error
            if away is None:
                raise
            where = away.filename or self._folder.root
            raise StudyError(f"{where}: {away.strerror}; put it back, then {self._how}") from error
        finally:
            shutil.rmtree(self._folder.root / ".ray", ignore_errors=True)

    def _tuner(self, dispatcher: Dispatcher[Segment]) -> tune.Tuner:
        searcher, scheduler = tune_adapters(
            dispatcher,
            concurrent=self._resources.concurrent,
            deadline=self._deadline,
            raise_if_due=self._interrupts.raise_if_due,
        )
        return tune.Tuner(
            tune.with_resources(self._trainable, {"cpu": self._resources.cpus, "gpu": self._resources.gpus}),
            tune_config=tune.TuneConfig(search_alg=searcher, scheduler=scheduler, num_samples=-1, reuse_actors=True),
            run_config=tune.RunConfig(
                name=".ray",
                storage_path=str(self._folder.root),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
