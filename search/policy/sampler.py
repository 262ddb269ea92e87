"""Proposes configurations: Optuna's samplers behind one pure function of plain records.

Each call fills an in-memory study with the records as TPE should see them, and asks it once. No state is kept between
calls, so a resumed search proposes the same configurations as an uninterrupted one.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial

from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy.optuna_view import OptunaView
from search.policy.records import TrialRecord

STARTUP_TRIALS = 10
"""Trials with at least one epoch before TPE takes over from random sampling."""

_TPE_DRAWS = 5
"""Draws from TPE; the remaining ones are random."""
_DRAWS = 25
"""Draws before a configuration is proposed that was tried already."""


def ask(
    space: Space,
    trials: Sequence[TrialRecord],
    *,
    number: int,
    seed: int,
    sampler: str,
    view: OptunaView | None = None,
) -> dict[str, Value]:
    """The parameters of trial `number`: a pure function of its arguments.

    sampler: `tpe`, `random` or `sobol`; any other name raises ValueError. A configuration that was tried already is
    drawn again a few times, except with `sobol`, whose points are fixed. view: the space's view from earlier calls,
    which saves time and changes no result.
    """
    if sampler == "sobol":
        return sobol_point(space, number=number, seed=seed)
    if sampler not in ("tpe", "random"):
        raise ValueError(f"unknown sampler {sampler!r}; expected tpe, random or sobol")
    tried = [trial.params for trial in trials]
    seen = (view or OptunaView(space)).trials(trials) if sampler == "tpe" else []
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
