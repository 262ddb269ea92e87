"""Which parameters mattered: PED-ANOVA over the trials that ended a common stage. Pure."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from search.experiment.space import Space
from search.policy.optuna_view import distributions
from search.policy.records import Rank, TrialRecord, TrialState, searched

_FEWEST_TRIALS = 12
"""PED-ANOVA compares the best tenth with all trials; with fewer trials that tenth is a single one."""
_STAGE_SHARE = 0.3
"""The compared stage is the last one that this share of the trials has ended."""


@dataclass(frozen=True, slots=True)
class Importance:
    """One parameter."""

    name: str
    value: float
    """Share of all importances, 0 to 1; for a parameter under an option, see `trials`."""
    trials: int
    """Trials that have the parameter; fewer than all for one that only some options have."""


@dataclass(frozen=True, slots=True)
class Importances:
    """The section: parameters by importance, the largest first."""

    rows: tuple[Importance, ...]
    stage_name: str
    """Trials are compared at the end of this stage."""
    trials: int


def importances(records: Sequence[TrialRecord], space: Space) -> Importances | None:
    """None with too few comparable trials.

    Watanabe, Bansal and Hutter 2023, 'PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
    Subspaces': the density of the best trials along one parameter against that of all trials.
    """
    own = (trial for trial in searched(records) if not trial.is_of_portfolio)
    trials = [trial for trial in own if trial.state is not TrialState.FAIL and trial.rung is not None]
    stage = _compared_stage(trials)
    if stage is None:
        return None
    ranked = [(trial, rank) for trial in trials if (rank := trial.rung_rank(stage)) is not None and _fits(space, trial)]
    if len(ranked) < _FEWEST_TRIALS:
        return None
    found = [one for name in space.domains if (one := _importance(name, ranked, space)) is not None]
    total = sum(one.value for one in found)
    if not total:
        return None
    rows = (Importance(one.name, one.value / total, one.trials) for one in found)
    names = [report.stage_name for trial, _ in ranked for report in trial.reports if report.stage == stage]
    return Importances(
        rows=tuple(sorted(rows, key=lambda one: (-one.value, one.name))), stage_name=names[0], trials=len(ranked)
    )


def _compared_stage(trials: Sequence[TrialRecord]) -> int | None:
    """The last stage that enough trials ended, or None."""
    stages = sorted({report.stage for trial in trials for report in trial.reports}, reverse=True)
    needed = max(_FEWEST_TRIALS, _STAGE_SHARE * len(trials))
    return next((stage for stage in stages if sum(trial.has_ended(stage) for trial in trials) >= needed), None)


def _fits(space: Space, trial: TrialRecord) -> bool:
    """Whether Optuna can hold its values; the baseline's may lie outside of their domains."""
    return set(distributions(space, trial.params)) == set(trial.params)


def _importance(name: str, ranked: Sequence[tuple[TrialRecord, Rank]], space: Space) -> Importance | None:
    """Not yet normalised; None for a parameter that too few trials have, or that has a single value."""
    own = [(trial, rank) for trial, rank in ranked if name in trial.params]
    if len(own) < _FEWEST_TRIALS or len({trial.params[name] for trial, _ in own}) < 2:
        return None
    study = _new_study()
    places = {rank: place for place, rank in enumerate(sorted({rank for _, rank in own}))}
    for trial, rank in own:
        domain = distributions(space, trial.params)[name]
        study.add_trial(
            create_trial(params={name: trial.params[name]}, distributions={name: domain}, value=float(places[rank]))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        value = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=[name], normalize=False
        )[name]
    return Importance(name, float(value), len(own))


def _new_study() -> optuna.Study:
    """In memory, without the line that Optuna logs for each new study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
