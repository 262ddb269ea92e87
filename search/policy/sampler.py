"""Proposes configurations: Optuna's samplers behind one pure function of plain records.

Each call fills an in-memory study with the records as TPE should see them, and asks it once. Nothing is kept between
calls, so a resumed search proposes the same configurations as an uninterrupted one.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, create_trial

from carcls.events import EpochReport, deciding_report
from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy.records import Rank, TrialRecord, TrialState, searched
from search.policy.rungs import earned_rung, ordinary_trials

STARTUP_TRIALS = 10
"""Trials with at least one epoch before TPE takes over from random sampling."""

_TPE_DRAWS = 5
"""Draws from TPE; the remaining ones are random."""
_DRAWS = 25
"""Draws before a configuration is proposed that was tried already."""

_STAGE_STRIDE = 1_000_000
"""More epochs than any stage has. Steps of stage * stride + epoch sort by rung first and by epoch second."""

_TIE_WEIGHT = 1e-7
"""Weight of a rank's second part. One more correct photo among 100,000 outweighs any log-loss."""


def ask(space: Space, trials: Sequence[TrialRecord], *, number: int, seed: int, sampler: str) -> dict[str, Value]:
    """The parameters of trial `number`: a pure function of its arguments.

    sampler: `tpe`, `random` or `sobol`; any other name raises ValueError. A configuration that was tried already is
    drawn again a few times, except with `sobol`, whose points are fixed.
    """
    if sampler == "sobol":
        return sobol_point(space, number=number, seed=seed)
    if sampler not in ("tpe", "random"):
        raise ValueError(f"unknown sampler {sampler!r}; expected tpe, random or sobol")
    tried = [dict(trial.params) for trial in trials]
    seen = as_optuna_trials(space, trials) if sampler == "tpe" else []
    params: dict[str, Value] = {}
    for draw in range(_DRAWS):
        entropy = np.random.SeedSequence((seed, number, draw))
        if sampler == "tpe" and draw < _TPE_DRAWS:
            params = _propose(space, seen, int(entropy.generate_state(1)[0]))
        else:
            params = space.sample(np.random.default_rng(entropy))
        if params not in tried:
            break
    return params


def sobol_point(space: Space, *, number: int, seed: int) -> dict[str, Value]:
    """Point `number` of a scrambled Sobol sequence over all parameters of the space; inactive ones are left out.

    The first n points fill the space more evenly than n random ones (Owen 1998, 'Scrambling Sobol' and
    Niederreiter-Xing points').
    """
    # scipy.stats takes half a second to import, so only this sampler imports it.
    from scipy.stats import qmc  # noqa: PLC0415

    names = list(space.domains)
    sequence = qmc.Sobol(len(names), scramble=True, rng=np.random.default_rng(seed))
    if number:  # scipy overflows when asked to skip 0 points
        sequence.fast_forward(number)
    point = dict(zip(names, sequence.random(1)[0].tolist(), strict=True))
    return space.collect(lambda parameter: parameter.domain.at(point[parameter.name]))


def distributions(space: Space, params: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each given value. Values outside of their distribution are left out.

    Raises ValueError if the space asks for a parameter without a value.
    """
    replay = _Replay(params)
    space.suggest(replay)
    return replay.domains


def as_optuna_trials(space: Space, trials: Sequence[TrialRecord]) -> list[FrozenTrial]:
    """The records as Optuna trials that TPE ranks in our order.

    TPE ranks COMPLETE trials by value, then PRUNED ones by last step and its value, then those that violate a
    constraint; with constant_liar, RUNNING ones count as bad. Therefore:

    - a trial with an epoch, paused or running, is PRUNED; its steps sort by stage before epoch, since stages may end
      early;
    - a trial without an epoch is RUNNING;
    - an infeasible trial violates a constraint;
    - repeats, recipes of the portfolio, trials that failed for another reason and those with a value outside of its
      domain are left out.
    """
    ordinary = {trial.number: trial for trial in ordinary_trials(trials)}
    own = (trial for trial in searched(trials) if not trial.is_of_portfolio)
    shown = (_as_optuna_trial(trial, ordinary, distributions(space, trial.params)) for trial in own)
    return [trial for trial in shown if trial is not None]


def _as_optuna_trial(
    trial: TrialRecord, ordinary: Mapping[int, TrialRecord], domains: dict[str, BaseDistribution]
) -> FrozenTrial | None:
    known: dict[str, Any] = {"params": dict(trial.params), "distributions": domains}
    if domains.keys() != trial.params.keys():
        return None
    if trial.infeasible:
        return create_trial(state=optuna.trial.TrialState.PRUNED, constraints={"infeasible": 1.0}, **known)
    if trial.state is TrialState.FAIL:
        return None
    if not trial.reports:
        return create_trial(state=optuna.trial.TrialState.RUNNING, **known)
    if trial.state is TrialState.COMPLETE and trial.best_rank and _completed_by_merit(trial, ordinary):
        return create_trial(state=optuna.trial.TrialState.COMPLETE, value=_score(trial.best_rank), **known)
    deepest = trial.stage_count if trial.number in ordinary else earned_rung(trial, tuple(ordinary.values()))
    steps = _steps(trial, trial.stage_count if deepest is None else deepest)
    return create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values=steps, **known)


def _completed_by_merit(trial: TrialRecord, ordinary: Mapping[int, TrialRecord]) -> bool:
    """True if a complete trial counts as such: it is ordinary, or better than an ordinary complete one."""
    if trial.number in ordinary:
        return True
    complete = (other.best_rank for other in ordinary.values() if other.state is TrialState.COMPLETE)
    return any(rank is not None and trial.best_rank is not None and rank < trial.best_rank for rank in complete)


def _steps(trial: TrialRecord, deepest: int) -> dict[int, float]:
    """Step to the stage's value so far, for stages up to `deepest`; NaN, TPE's worst, before the first finite epoch."""
    steps: dict[int, float] = {}
    deciding: dict[int, EpochReport | None] = {}
    for report in trial.reports:
        if report.stage > deepest:
            continue
        # Only the deciding epoch so far is compared with the new one, which keeps this linear in the epochs.
        before = deciding.get(report.stage)
        decides = deciding[report.stage] = deciding_report([before, report] if before else [report])
        stage, epoch = (report.stage + 1, 0) if report.stage_ended else (report.stage, report.stage_epoch)
        steps[stage * _STAGE_STRIDE + epoch] = _score(decides.rank) if decides else math.nan
    return steps


def _score(rank: Rank) -> float:
    first, tie_breaker = rank
    return first + _TIE_WEIGHT * tie_breaker


def _propose(space: Space, seen: Sequence[FrozenTrial], seed: int) -> dict[str, Value]:
    with warnings.catch_warnings():
        # For `group`, without which conditional parameters are sampled independently.
        warnings.simplefilter("ignore", ExperimentalWarning)
        tpe = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS, seed=seed
        )
    study = optuna.create_study(direction="maximize", sampler=tpe)
    study.add_trials(seen)
    return space.suggest(study.ask())


class _Replay:
    """Stands in for an Optuna trial: returns given values, and notes the distribution of each."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        self._params = params
        self.domains: dict[str, BaseDistribution] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return cast(float, self._note(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return cast(int, self._note(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        return self._note(name, CategoricalDistribution(tuple(choices)))

    def _note(self, name: str, domain: BaseDistribution) -> Value:
        if name not in self._params:
            raise ValueError(f"no value for parameter {name}; the configuration has {', '.join(self._params)}")
        value = self._params[name]
        if _contains(domain, value):
            self.domains[name] = domain
        return value


def _contains(domain: BaseDistribution, value: Value) -> bool:
    if isinstance(domain, CategoricalDistribution):
        return value in domain.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return domain._contains(domain.to_internal_repr(value))
