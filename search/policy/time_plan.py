"""How a run shares its hours among search, final trainings, ensemble and scoring. Pure functions of plain values."""

from dataclasses import dataclass, replace

from search.policy.step_times import (
    MARGIN,
    MOST_OTHER_SHARE,
    PACED_MARGIN,
    Measured,
    Wishes,
    final_s,
    models_of,
    more_scoring_s,
    scoring_s,
)

_FINAL_SHARE = 0.3
"""Of the hours, for the final trainings, until a whole training has been measured."""
_MOST_FINAL_SHARE = 0.7
"""While the search runs, folds are dropped beyond this share of what ensemble and scoring leave."""
_MOST_FINALS_SHARE = 0.8
"""Of the hours, with a training of another backbone, which is given up beyond this share."""
_FEWEST_SEARCH_SHARE = 0.08
"""Of the hours; a training of another backbone that would leave the search less is given up."""
_ENSEMBLE_SHARE, _FEWEST_ENSEMBLE_S = 0.03, 20.0
_FEWEST_FOLDS = 3
"""Of a final training, unless the file asks for two, which train on half of the photos each."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A final training that was begun, and goes on whatever would be planned now."""

    folds: int
    left: float
    """Share of it that is still to train."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of a run."""

    name: str
    seconds: float
    """Planned from now on."""


@dataclass(frozen=True, slots=True)
class TimePlan:
    """The steps that are left, in order. They never sum to more than what is left of the hours."""

    total_s: float
    spent_s: float
    phases: tuple[Phase, ...]
    folds: int
    """Final trainings that validate; 0 if not even one fits."""
    spare_s: float = 0.0
    """What a limit of the search's own keeps it from using; the final trainings' part has it."""
    is_beside: bool = False
    """Whether the study's own final training is over, and those of other trials may follow."""

    @property
    def left_s(self) -> float:
        """Of the hours."""
        return max(0.0, self.total_s - self.spent_s)

    def seconds(self, name: str) -> float:
        """Planned for a step; 0 if it is not in the plan."""
        return next((phase.seconds for phase in self.phases if phase.name == name), 0.0)


SEARCH, FINAL, ENSEMBLE, SCORING, DONE = "search", "final training", "ensemble", "scoring and submission", "done"
STEPS = (SEARCH, FINAL, ENSEMBLE, SCORING, DONE)
"""In order; `DONE` takes no time."""


def time_plan(
    total_s: float,
    spent_s: float,
    wishes: Wishes,
    measured: Measured,
    *,
    is_searching: bool,
    has_final: bool = False,
    most_search_s: float | None = None,
) -> TimePlan:
    """The plan for what is left of `total_s`. has_final: whether the study's own final training is over or was begun.

    While the search runs, it gets all that the other steps do not need, but at most `most_search_s` from now on; the
    final trainings may use what that leaves. Once it is over, the final training has as many folds as fit: more than
    the file asks for if there is time; if fewer than three fit, one training on the search's split, or none. Averages
    of folds gain most of what is measured in docs/policy.md. They have the ensemble's time if no training of another
    backbone fits, for then there is nothing to average them with.
    """
    left = max(0.0, total_s - spent_s)
    ensemble = max(_ENSEMBLE_SHARE * total_s, _FEWEST_ENSEMBLE_S)
    scoring = scoring_s(total_s, models_of(wishes.folds, wishes), measured)
    whole = total_s - min(ensemble + scoring, MOST_OTHER_SHARE * total_s)
    most = min(left, MOST_OTHER_SHARE * total_s)
    if not is_searching:
        scoring = scoring_s(total_s, 1, measured)  # each fold that fits brings its own
        most = most if measured.predicted_s is None else left
    if ensemble + scoring > most:  # a short run: the submission is needed more than the ensemble
        scoring = min(scoring, most)
        ensemble = most - scoring
    room = max(0.0, left - ensemble - scoring)
    if is_searching:
        folds, final = _reserved(whole, _Room(total_s, room, models_of(wishes.folds, wishes)), wishes, measured)
    else:
        folds = _folds_beside_another(whole, _Room(total_s, room), wishes, measured)
        models = models_of(2 * folds, wishes)
        if not folds:
            folds = _folds_alone(whole, _Room(total_s, room), wishes, measured)
            longer = 0 if has_final else _folds_alone(whole, _Room(total_s, room + ensemble), wishes, measured)
            if longer > max(folds, 1):
                folds, room, ensemble = longer, room + ensemble, 0.0
            models = models_of(folds, wishes)
        final = min(final_s(folds, wishes, measured), room) if folds else 0.0
        more = min(more_scoring_s(total_s, models, 1, measured), room - final)
        scoring, room = scoring + more, room - more
    search_s = room - final if most_search_s is None else min(room - final, max(0.0, most_search_s))
    spare = room - final - search_s if is_searching and folds else 0.0
    search = [Phase(SEARCH, search_s)] if is_searching else []
    phases = (*search, Phase(FINAL, final + spare), Phase(ENSEMBLE, ensemble), Phase(SCORING, scoring))
    return TimePlan(total_s, spent_s, phases, folds, spare_s=spare)


@dataclass(frozen=True, slots=True)
class _Room:
    """Time for final trainings."""

    total_s: float
    seconds: float
    models: int = 1
    """Models whose scoring is planned apart from it; that of more takes from it."""

    def holds(self, counts: tuple[int, ...], wishes: Wishes, measured: Measured, *, margin: float) -> bool:
        """Whether final trainings of so many folds fit, and what their models add to scoring."""
        scoring = more_scoring_s(self.total_s, models_of(sum(counts), wishes), self.models, measured)
        return scoring + sum(final_s(count, wishes, measured, margin=margin) for count in counts) <= self.seconds


def _folds_beside_another(whole: float, room: _Room, wishes: Wishes, measured: Measured) -> int:
    """As many as fit beside as many as possible of another backbone's training; 0 if not even those asked for do.

    What the search has left time for fits with less margin, or a search that ends late by one epoch would cost a fold.
    """
    if not wishes.has_other or wishes.is_refitted:
        return 0
    kept, keeps_other = _wanted(room.total_s, whole, wishes, measured)
    fewest = _fewest_folds(wishes)
    reserved = (kept, fewest if keeps_other else 0)
    pairs = [
        (other, own)
        for own in range(max(fewest, wishes.folds), _most(wishes) + 1)
        for other in range(fewest, own + 1)
        if _fits((own, other), reserved, room, wishes, measured)
    ]
    return max(pairs)[1] if pairs else 0


def _folds_alone(whole: float, room: _Room, wishes: Wishes, measured: Measured) -> int:
    """As many as fit, see `_folds_beside_another`."""
    kept, _ = _wanted(room.total_s, whole, wishes, measured)
    counts = _counts(_most(wishes), wishes)
    return next((count for count in counts if _fits((count,), (kept,), room, wishes, measured)), 0)


def _wanted(total: float, whole: float, wishes: Wishes, measured: Measured) -> tuple[int, bool]:
    """The folds that a search leaves time for, whatever is spent, and whether it does so for another backbone too.

    whole: of the hours, what ensemble and scoring leave.
    """
    most = {count: whole if count == 1 else _MOST_FINAL_SHARE * whole for count in _counts(wishes.folds, wishes)}
    folds = next((count for count, seconds in most.items() if final_s(count, wishes, measured) <= seconds), 0)
    if folds < _fewest_folds(wishes) or not wishes.has_other or wishes.is_refitted:
        return folds, False
    own, other = (final_s(count, wishes, measured) for count in (folds, _fewest_folds(wishes)))
    needed = own + _other_s(total, folds, wishes, measured)
    keeps_other = own + other <= _MOST_FINALS_SHARE * total and needed <= whole - _FEWEST_SEARCH_SHARE * total
    return folds, keeps_other


def _other_s(total: float, folds: int, wishes: Wishes, measured: Measured) -> float:
    """Of the shortest training of another backbone beside one of so many folds, with what it adds to scoring."""
    fewest = _fewest_folds(wishes)
    return final_s(fewest, wishes, measured) + more_scoring_s(total, folds + fewest, wishes.folds, measured)


def _fits(counts: tuple[int, ...], reserved: tuple[int, ...], room: _Room, wishes: Wishes, measured: Measured) -> bool:
    """Whether final trainings of so many folds fit. reserved: folds that the search has left time for."""
    is_reserved = all(count <= kept for count, kept in zip(counts, reserved, strict=True))
    return room.holds(counts, wishes, measured, margin=PACED_MARGIN if is_reserved else MARGIN)


def with_begun(plan: TimePlan, begun: Begun, wishes: Wishes, measured: Measured) -> TimePlan:
    """The plan with a final training that was begun. It ends first, so the ensemble has no more than it leaves."""
    final = min(begun.left * final_s(begun.folds, wishes, measured), max(0.0, plan.left_s - plan.seconds(SCORING)))
    ensemble = min(plan.seconds(ENSEMBLE), max(0.0, plan.left_s - plan.seconds(SCORING) - final))
    seconds = {FINAL: final, ENSEMBLE: ensemble}
    phases = tuple(replace(phase, seconds=seconds.get(phase.name, phase.seconds)) for phase in plan.phases)
    return replace(plan, phases=phases, folds=begun.folds)


def with_trainings_beside(plan: TimePlan) -> TimePlan:
    """The plan once the study's own final training is over: others may take what ensemble and scoring do not need."""
    phases = (replace(phase, seconds=_room_beside(plan)) if phase.name == FINAL else phase for phase in plan.phases)
    return replace(plan, phases=tuple(phases), is_beside=True)


def _room_beside(plan: TimePlan) -> float:
    return max(0.0, plan.left_s - plan.seconds(ENSEMBLE) - plan.seconds(SCORING))


def folds_beside(plan: TimePlan, wishes: Wishes, measured: Measured, *, begun: int = 0) -> int:
    """Folds of one more final training, of another trial, that fit before ensemble and scoring; 0 if too few do.

    measured: of that trial, at the pace of the study's own final training. begun: folds of a training that was begun;
    it is these or none. A single training has no out-of-fold photos, so it could not be averaged with others.
    """
    room = _room_beside(plan)
    counts = (begun,) if begun else range(_most(wishes), _fewest_folds(wishes) - 1, -1)
    return next((count for count in counts if _beside_s(count, plan, wishes, measured) <= room), 0)


def _beside_s(folds: int, plan: TimePlan, wishes: Wishes, measured: Measured) -> float:
    """Of a training beside, with what its models add to scoring."""
    predicted_s = (measured.predicted_s or 0.0) + folds * (measured.model_s or 0.0)
    scoring = scoring_s(plan.total_s, 1, replace(measured, predicted_s=predicted_s))
    more = max(0.0, scoring - scoring_s(plan.total_s, 1, measured))
    return final_s(folds, wishes, measured, margin=PACED_MARGIN) + more


def _most(wishes: Wishes) -> int:
    return max(wishes.folds, wishes.most_folds)


def _fewest_folds(wishes: Wishes) -> int:
    return 2 if wishes.folds == 2 else _FEWEST_FOLDS


def _counts(most: int, wishes: Wishes) -> tuple[int, ...]:
    """Numbers of folds that may be trained, the largest first; 1 is a training on the search's split."""
    return (*range(most, _fewest_folds(wishes) - 1, -1), 1)


def _reserved(whole: float, room: _Room, wishes: Wishes, measured: Measured) -> tuple[int, float]:
    """The folds that fit after the search, and the seconds that it leaves to final trainings.

    whole: of the hours, what ensemble and scoring leave. room: the same of what is left of them. The reserve does not
    shrink as time passes, so the search ends where it begins. Only if a fold no longer fits at all, the search has the
    rest: then the time of a training was measured too late.
    """
    wanted, keeps_other = _wanted(room.total_s, whole, wishes, measured)
    counts = _counts(wanted, wishes) if wanted else ()
    folds = next((count for count in counts if _fits((count,), (count,), room, wishes, measured)), 0)
    if not folds:
        return 0, 0.0
    final = _FINAL_SHARE * room.total_s if measured.training_s is None else final_s(wanted, wishes, measured)
    if keeps_other:
        final += _other_s(room.total_s, wanted, wishes, measured)
    return folds, min(final, room.seconds)


def plan_lines(plan: TimePlan) -> tuple[str, ...]:
    """The plan in words: one line of what is left, and one for each step."""
    return (
        f"plan: {_minutes(plan.left_s)} of {_minutes(plan.total_s)} left",
        *(f"  {_name(phase, plan)}: {_minutes(phase.seconds)}" for phase in plan.phases),
        *([_spare_line(plan.spare_s)] if plan.spare_s else []),
    )


def _spare_line(seconds: float) -> str:
    return (
        f"  search.budget.hours ends the search {_minutes(seconds)} early: that is for final trainings, as far as they"
        " can use it"
    )


def spent_text(plan: TimePlan) -> str:
    """What a run has taken so far, in words."""
    return f"{_minutes(plan.spent_s)} of {_minutes(plan.total_s)}"


def _name(phase: Phase, plan: TimePlan) -> str:
    if phase.name != FINAL:
        return phase.name
    if plan.is_beside:
        return "final trainings of other backbones, as far as they fit"
    if not plan.folds:
        return "no final training fits: the best trial is submitted"
    return f"final training of {plan.folds} folds" if plan.folds > 1 else FINAL


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
