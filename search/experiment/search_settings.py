"""The `search` section of an experiment file: frozen, typed, and the only place for its defaults."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from carcls.config import RankBy


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BudgetSettings(Section):
    """Limits after which no new segment starts; null: no limit."""

    hours: Annotated[float, Field(gt=0.0)] | None = None
    """Wall-clock hours; when they are over, each running trial ends with its epoch and can be resumed."""
    gpu_hours: Annotated[float, Field(gt=0.0)] | None = None
    """Hours of whole GPUs, shares counted as shares; a trial that runs when they are over continues to its rung."""


class SchedulerConfig(Section):
    """Which trials continue after a stage."""

    kind: Literal["asha", "adaptive", "none"] = "asha"
    """`adaptive`: as `asha`, but a rung compares trials only while their order there matches their order at the end of
    the second-to-last stage. `none`: every trial runs all its stages."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """The best 1/reduction_factor of a rung continue."""
    first_rung: Annotated[int, Field(ge=1)] = 1
    """Number of the stage, counted from 1, after which trials are first compared."""


class ResourceSettings(Section):
    """The resources of each running trial."""

    gpus_per_trial: float | None = None
    """0, a share from 0.25 to 1, or a whole number of GPUs, over which each batch is spread; null: 1 if the cluster has
    GPUs, else 0."""
    cpus_per_trial: Annotated[int, Field(ge=1)] | None = None
    """TensorFlow's threads; null: the GPU's share of its node's cores, or up to 4 without a GPU."""

    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Type of GPU that each trial needs, as Ray names it, such as A100 or H100; null: any."""
    wait_minutes: Annotated[float, Field(ge=0.0)] = 15.0
    """How long a search on a cluster waits for the first node with room for a trial."""
    larger_node_minutes: Annotated[float, Field(ge=0.0)] = 0.0
    """How long a trial that has too little memory on every node of a cluster waits for a larger one to join, before it
    counts as infeasible. One that is there is used in any case."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _share_or_whole_gpus(cls, gpus: float | None) -> float | None:
        is_share = gpus is not None and 0.25 <= gpus <= 1
        if gpus is not None and not is_share and (gpus < 0 or gpus != int(gpus)):
            raise ValueError(f"expected 0, a share from 0.25 to 1, or a whole number of GPUs, found {gpus:g}")
        return gpus


class NodeSettings(Section):
    """The nodes of a Ray cluster, which may join, leave or be broken."""

    exclude_after: Annotated[int, Field(ge=1)] = 2
    """A node gets no more trials in this run after so many faults of its own (photos missing, weights unreadable, GPU
    unusable, disk full) without an epoch between them, as long as another node works."""
    lost_after_seconds: Annotated[float, Field(ge=5.0)] = 20.0
    """How long the cluster's control store (GCS) may be silent before the search ends, to be resumed. Raise it if the
    store restarts by itself (Redis fault tolerance)."""
    hand_over_seconds: Annotated[float, Field(ge=0.0)] = 15.0
    """How long running trials may take to save their state within the epoch after SIGTERM to the search, on one machine
    too. SLURM and Kubernetes kill 30 s after it by themselves, and ending Ray takes a few of those."""


class DeadlineSettings(Section):
    """How long a trial or final training may be silent before its process is killed and a new one resumes from the last
    checkpoint."""

    epoch_factor: Annotated[float, Field(ge=2.0)] = 10.0
    """Multiple of this worker's longest epoch of the same stage."""
    shortest_minutes: Annotated[float, Field(gt=0.0)] = 10.0
    """Lower bound, for short epochs."""
    first_epoch_minutes: Annotated[float, Field(gt=0.0)] = 120.0
    """For the first epoch of a stage or attempt, which compiles and may build what the store lacks."""


class CheckpointSettings(Section):
    """Checkpoints that a study keeps on disk."""

    quota_gb: Annotated[float, Field(gt=0.0)] | None = None
    """Limit for all checkpoints of the study, in 10^9 bytes; beyond it the least useful are deleted. null: no limit."""
    checkpoint_minutes: Annotated[float, Field(gt=0.0)] | None = None
    """How often a trial's state is saved within an epoch, for epochs of many minutes: after an interruption it resumes
    there, with the same results. null: only when its node is about to leave the cluster."""
    full_disk_minutes: Annotated[float, Field(gt=0.0)] = 60.0
    """How long a search waits for space on a full disk, for files that every trial needs, or for the database with its
    record, before it stops. It can then be resumed."""


class FinalistSettings(Section):
    """Repeats of the best trials with other seeds, whose scores are free of selection bias."""

    count: Annotated[int, Field(ge=0, le=100)] = 0
    """Number of best trials to repeat, in addition to the baseline; 0: no finals."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    """Repeats of each."""


class SearchSettings(Section):
    """How the space is searched."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    """Configurations to try, including the baseline."""
    budget: BudgetSettings = BudgetSettings()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler and of the photos' views."""
    rank_by: Literal["auto", "accuracy", "log_loss"] = "auto"
    """How epochs and trials are ranked: by validation accuracy, or by log-loss after temperature scaling, which is less
    noisy. auto: log_loss in new studies, accuracy in studies older than this setting."""
    sampler: Literal["tpe", "random", "sobol"] = "tpe"
    """`sobol`: points that fill the space evenly, without learning from results."""
    scheduler: SchedulerConfig = SchedulerConfig()
    finalists: FinalistSettings = FinalistSettings()
    """Off by default, because they can cost as much as a search (`count` + 1 times `seeds` whole trainings)."""
    resources: ResourceSettings = ResourceSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials that run at once; null: as many as fit. On a cluster, so many are asked for even if there is no room yet,
    and an autoscaler then starts nodes."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """How many times a trial's process or node may die without a new epoch or part of one in between before the trial
    fails. A Python error fails at once."""
    deadline: DeadlineSettings = DeadlineSettings()
    nodes: NodeSettings = NodeSettings()
    deterministic: bool = False
    """True: deterministic kernels, so that a search with one trial at a time is reproducible. Slower; on GPUs
    TensorFlow lacks some deterministic kernels (gradient of depthwise convolution) and then raises an error."""
    portfolio: Literal["builtin"] | tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Recipes to try first, after the baseline: `builtin`, or a list of experiment files without domains, in order.
    Those that do not fit the photos, the GPU, the weights at hand or half of `trials` are left out. null: none."""
    baseline: Mapping[str, Any] = {}
    """The default recipe: values for domains, as a tree like `train` with stages by name. Other domains use their
    default."""

    @field_validator("portfolio", mode="before")
    @classmethod
    def _one_of_two_kinds(cls, value: Any) -> Any:  # noqa: ANN401 - anything that a file may hold
        if value is None or value == "builtin":
            return value
        if isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value):
            return tuple(value)
        raise PydanticCustomError(
            "portfolio", "Input should be {expected}", {"expected": "`builtin`, or a list of experiment files"}
        )

    @property
    def ranking(self) -> RankBy:
        """How a new study ranks."""
        return "accuracy" if self.rank_by == "accuracy" else "log_loss"
