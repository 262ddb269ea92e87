"""Ray Tune as an executor: each Tune trial is one segment, on any node with room.

See `search.driver.executor` for the contract.
"""

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ray import tune
from ray.tune.error import TuneError

from carcls.errors import DiskFullError
from carcls.system.atomic import full_disk_cause, unreachable_cause
from search.driver.dispatch import Dispatcher
from search.driver.interrupts import INTERRUPTED, Interrupts
from search.errors import ClusterError, StudyError
from search.experiment.search_settings import DeadlineSettings
from search.on_ray.actor import DRIVER, run_segment
from search.on_ray.cluster.nodes import ResourcePlan
from search.on_ray.cluster.places import ANY_PLACE, AVOID, NODE_ID_LABEL, Places
from search.on_ray.driver_line import LEAST_SILENT_S
from search.on_ray.ray_private import ask_to_hand_over, own_address
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
        concurrent: Callable[[], int] | None = None,
        places: Places = ANY_PLACE,
        silent_s: float = LEAST_SILENT_S,
        trainable: Callable[[dict[str, Any]], None] = run_segment,
    ) -> None:
        """how: how the user continues after an error, for messages. concurrent: how many segments may run now, or None
        for the plan's number. places: the cluster's nodes. silent_s: a worker that does not reach this process for so
        long ends. trainable: same signature as `run_segment`."""
        self._silent_s = silent_s
        self._concurrent = concurrent or (lambda: resources.concurrent)
        self._places = places
        self._folder = folder
        self._resources = resources
        self._deadline = deadline
        self._interrupts = interrupts
        self._how = how
        self._trainable = trainable
        self._has_asked_workers = False

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

    def _between_steps(self) -> None:
        self._interrupts.raise_if_due()
        if self._interrupts.hands_over and not self._has_asked_workers:
            self._has_asked_workers = True
            threading.Thread(target=ask_to_hand_over, daemon=True).start()  # the control store may hang
        self._places.take_over()

    def _tuner(self, dispatcher: Dispatcher[Segment]) -> tune.Tuner:
        searcher, scheduler = tune_adapters(
            dispatcher,
            concurrent=self._concurrent,
            deadline=self._deadline,
            raise_if_due=self._between_steps,
            hands_over=lambda: self._interrupts.hands_over,
            places=self._places,
            more={DRIVER: {"address": own_address(), "silent_s": self._silent_s}},
        )
        return tune.Tuner(
            tune.with_resources(self._trainable, partial(_requested, self._resources.bundle)),
            tune_config=tune.TuneConfig(search_alg=searcher, scheduler=scheduler, num_samples=-1, reuse_actors=True),
            run_config=tune.RunConfig(
                name=".ray",
                storage_path=str(self._folder.root),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )


def _requested(bundle: dict[str, float], config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """What Ray must find for one segment. Tune pickles this.

    Tune reuses an actor only for an equal request, hence none on a node that is avoided now.
    """
    avoided = config.get(AVOID) or []
    labels = {"bundle_label_selector": [{NODE_ID_LABEL: f"!in({','.join(avoided)})"}]} if avoided else {}
    return tune.PlacementGroupFactory([bundle], **labels)
