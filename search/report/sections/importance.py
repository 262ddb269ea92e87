"""Which parameters mattered: PED-ANOVA over the trials that ended a common stage. Pure."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from search.experiment.space import Space
from search.policy.optuna_view import distributions, shared
from search.policy.records import Rank, TrialRecord, TrialState, searched

_FEWEST_TRIALS = 12
"""PED-ANOVA compares the best tenth with all trials; with fewer trials that tenth is a single one."""
_STAGE_SHARE = 0.3
"""The compared stage is the last one that this share of the trials has ended."""
_MOST_TRIALS = 1000
"""Of more trials, as many are compared, evenly spaced by rank: a tenth of them describes the best well enough."""


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
    of: int
    """Trials that ended the stage; more than `trials` if only a sample of them is compared."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """One trial, as PED-ANOVA sees it."""

    trial: TrialRecord
    rank: Rank
    domains: dict[str, BaseDistribution]
    """Of each value that lies in its domain."""


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
    ended = [(trial, rank) for trial in trials if (rank := trial.rung_rank(stage)) is not None]
    sample = (_Compared(trial, rank, distributions(space, trial.params)) for trial, rank in _spread(ended))
    # Optuna cannot hold a value outside of its domain, which the baseline may have.
    ranked = [one for one in sample if set(one.domains) == set(one.trial.params)]
    if len(ranked) < _FEWEST_TRIALS:
        return None
    found = [one for name in space.domains if (one := _importance(name, ranked)) is not None]
    total = sum(one.value for one in found)
    if not total:
        return None
    rows = (Importance(one.name, one.value / total, one.trials) for one in found)
    names = [report.stage_name for report in ranked[0].trial.reports if report.stage == stage]
    return Importances(
        rows=tuple(sorted(rows, key=lambda one: (-one.value, one.name))),
        stage_name=names[0],
        trials=len(ranked),
        of=len(ended) if len(ended) > _MOST_TRIALS else len(ranked),
    )


def _spread(ended: Sequence[tuple[TrialRecord, Rank]]) -> list[tuple[TrialRecord, Rank]]:
    """At most `_MOST_TRIALS` of them, evenly spaced by rank, in order of number."""
    if len(ended) <= _MOST_TRIALS:
        return list(ended)
    by_rank = sorted(ended, key=lambda one: (one[1], one[0].number))
    chosen = [by_rank[at * len(ended) // _MOST_TRIALS] for at in range(_MOST_TRIALS)]
    return sorted(chosen, key=lambda one: one[0].number)


def _compared_stage(trials: Sequence[TrialRecord]) -> int | None:
    """The last stage that enough trials ended, or None."""
    stages = sorted({report.stage for trial in trials for report in trial.reports}, reverse=True)
    needed = max(_FEWEST_TRIALS, _STAGE_SHARE * len(trials))
    return next((stage for stage in stages if sum(trial.has_ended(stage) for trial in trials) >= needed), None)


def _importance(name: str, ranked: Sequence[_Compared]) -> Importance | None:
    """Not yet normalised; None for a parameter that too few trials have, or that has a single value."""
    own = [one for one in ranked if name in one.trial.params]
    if len(own) < _FEWEST_TRIALS or len({one.trial.params[name] for one in own}) < 2:
        return None
    study = _new_study()
    places = {rank: place for place, rank in enumerate(sorted({one.rank for one in own}))}
    for one in own:
        params, domains = {name: one.trial.params[name]}, {name: one.domains[name]}
        study.add_trial(shared(create_trial(params=params, distributions=domains, value=float(places[one.rank]))))
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
