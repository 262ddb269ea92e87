"""How a run shares its hours among search, final trainings, ensemble and scoring. Pure functions of plain values."""

from dataclasses import dataclass, replace
from math import ceil

MARGIN = 1.25
"""Multiplies estimated durations of final trainings and scoring: other load, and what is not counted."""
_PACED_MARGIN = 1.1
"""The same once a final training has shown its pace."""
_FINAL_SHARE = 0.3
"""Of the hours, for the final trainings, until a whole training has been measured."""
_MOST_FINAL_SHARE = 0.7
"""While the search runs, folds are dropped beyond this share of what ensemble and scoring leave."""
_MOST_FINALS_SHARE = 0.8
"""Of the hours, with a training of another backbone, which is given up beyond this share."""
_SCORING_SHARE, _FEWEST_SCORING_S = 0.05, 30.0
"""The share of the hours for scoring until its time can be estimated. The seconds are what it takes however few photos
there are: loading models, reading photos, writing the submission."""
_ENSEMBLE_SHARE, _FEWEST_ENSEMBLE_S = 0.03, 20.0
_FEWEST_FOLDS = 3
"""Of a final training, unless the file asks for two, which train on half of the photos each."""
_MOST_OTHER_SHARE = 0.3
"""Of the hours, for ensemble and scoring together, until a final model has shown its pace."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What follows the search."""

    folds: int = 1
    """As the file asks."""
    most_folds: int = 5
    """As many as are worth their time, if there is time left after the search."""
    has_other: bool = False
    """Whether a trial of another backbone can be trained beside the winner, on folds of its own. While the search runs,
    the shortest such training has its time reserved."""
    is_refitted: bool = False
    """Whether one more training takes all photos."""
    is_compared: bool = False
    """Whether the first fold is trained twice before the others, with and without extra photos."""
    is_pseudo: bool = False
    """Whether all folds may be trained once more with pseudo-labels, the first before the others."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known so far."""

    training_s: float | None = None
    """Seconds of one final training on the search's split; None before a trial has had all its stages."""
    at_once: int = 1
    """Final trainings that run at once."""
    train_share: float | None = None
    """Share of the labelled photos that the search trains on; None: `training_s` is that of a fold, however many."""
    scoring_s: float | None = None
    """Seconds to predict the photos of the submission; None before a trial has had all its stages."""
    has_predicted: bool = False
    """Whether `scoring_s` is by the pace of a final model, and not by a trial's."""
    pseudo_share: float = 0.0
    """Photos that may get pseudo-labels, over the labelled ones."""


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
    scoring = _scoring_s(total_s, measured)
    most = left if measured.has_predicted else min(left, _MOST_OTHER_SHARE * total_s)
    if ensemble + scoring > most:  # a short run: the submission is needed more than the ensemble
        scoring = min(scoring, most)
        ensemble = most - scoring
    room, whole = max(0.0, left - ensemble - scoring), total_s - ensemble - scoring
    if is_searching:
        folds, final = _reserved(total_s, whole, room, wishes, measured)
    else:
        folds = _folds_beside_another(total_s, whole, room, wishes, measured)
        if not folds:
            folds = _folds_alone(total_s, whole, room, wishes, measured)
            longer = 0 if has_final else _folds_alone(total_s, whole, room + ensemble, wishes, measured)
            if longer > max(folds, 1):
                folds, room, ensemble = longer, room + ensemble, 0.0
        final = min(final_s(folds, wishes, measured), room) if folds else 0.0
    search_s = room - final if most_search_s is None else min(room - final, max(0.0, most_search_s))
    spare = room - final - search_s if is_searching and folds else 0.0
    search = [Phase(SEARCH, search_s)] if is_searching else []
    phases = (*search, Phase(FINAL, final + spare), Phase(ENSEMBLE, ensemble), Phase(SCORING, scoring))
    return TimePlan(total_s, spent_s, phases, folds, spare_s=spare)


def _scoring_s(total_s: float, measured: Measured) -> float:
    if measured.scoring_s is None:
        return max(_SCORING_SHARE * total_s, _FEWEST_SCORING_S)
    margin = _PACED_MARGIN if measured.has_predicted else MARGIN
    return _FEWEST_SCORING_S + margin * measured.scoring_s


def final_s(folds: int, wishes: Wishes, measured: Measured, *, margin: float = MARGIN) -> float:
    """Estimated seconds of so many final trainings, and the one on all photos. 0 before any is measured."""
    rounds, share = final_rounds(folds, wishes, at_once=measured.at_once), measured.train_share
    trainings = (rounds - wishes.is_refitted) * fold_share(folds, share) + wishes.is_refitted * _refit_share(share)
    with_pseudo = (_second_rounds(folds, at_once=measured.at_once) + wishes.is_refitted) if wishes.is_pseudo else 0
    trainings += with_pseudo * measured.pseudo_share * _refit_share(share)
    return margin * trainings * (measured.training_s or 0.0)


def fold_share(folds: int, train_share: float | None, *, pseudo_share: float = 0.0) -> float:
    """Seconds of a training on one of so many folds over those of one on the search's split.

    By passes through the backbone: one forward for each photo, and a backward one, which takes twice as long, for those
    that train. pseudo_share: photos with pseudo-labels, over the labelled ones.
    """
    more = pseudo_share * _refit_share(train_share)
    if folds == 1 or train_share is None:
        return 1.0 + more
    return (3.0 - 2.0 / folds) / (1.0 + 2.0 * train_share) + more


def _refit_share(train_share: float | None) -> float:
    """The same of a training on all photos."""
    return 1.0 if train_share is None else 3.0 / (1.0 + 2.0 * train_share)


def final_rounds(folds: int, wishes: Wishes, *, at_once: int) -> int:
    """Final trainings that follow one another, if so many at once run side by side."""
    is_measured = wishes.is_compared or wishes.is_pseudo
    if wishes.is_refitted and folds == 1 and not is_measured:
        return 1  # the search's trial tells its length
    first = ceil(2 / at_once) + ceil((folds - 1) / at_once) if wishes.is_compared else ceil(folds / at_once)
    return first + wishes.is_pseudo * _second_rounds(folds, at_once=at_once) + wishes.is_refitted


def _second_rounds(folds: int, *, at_once: int) -> int:
    """The same of trainings with pseudo-labels: the first fold, which is judged, then the others."""
    return 1 + ceil((folds - 1) / at_once)


def _folds_beside_another(total: float, whole: float, room: float, wishes: Wishes, measured: Measured) -> int:
    """As many as fit beside as many as possible of another backbone's training; 0 if not even those asked for do.

    What the search has left time for fits with less margin, or a search that ends late by one epoch would cost a fold.
    """
    if not wishes.has_other or wishes.is_refitted:
        return 0
    kept, keeps_other = _wanted(total, whole, wishes, measured)
    fewest = _fewest_folds(wishes)
    reserved = (kept, fewest if keeps_other else 0)
    pairs = [
        (other, own)
        for own in range(max(fewest, wishes.folds), _most(wishes) + 1)
        for other in range(fewest, own + 1)
        if _fits((own, other), reserved, room, wishes, measured)
    ]
    return max(pairs)[1] if pairs else 0


def _folds_alone(total: float, whole: float, room: float, wishes: Wishes, measured: Measured) -> int:
    """As many as fit, see `_folds_beside_another`."""
    kept, _ = _wanted(total, whole, wishes, measured)
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
    both = final_s(folds, wishes, measured) + final_s(_fewest_folds(wishes), wishes, measured)
    return folds, both <= _MOST_FINALS_SHARE * total


def _fits(counts: tuple[int, ...], reserved: tuple[int, ...], room: float, wishes: Wishes, measured: Measured) -> bool:
    """Whether final trainings of so many folds fit. reserved: folds that the search has left time for."""
    is_reserved = all(count <= kept for count, kept in zip(counts, reserved, strict=True))
    margin = _PACED_MARGIN if is_reserved else MARGIN
    return sum(final_s(count, wishes, measured, margin=margin) for count in counts) <= room


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
    return next((count for count in counts if final_s(count, wishes, measured, margin=_PACED_MARGIN) <= room), 0)


def _most(wishes: Wishes) -> int:
    return max(wishes.folds, wishes.most_folds)


def _fewest_folds(wishes: Wishes) -> int:
    return 2 if wishes.folds == 2 else _FEWEST_FOLDS


def _counts(most: int, wishes: Wishes) -> tuple[int, ...]:
    """Numbers of folds that may be trained, the largest first; 1 is a training on the search's split."""
    return (*range(most, _fewest_folds(wishes) - 1, -1), 1)


def _reserved(total: float, whole: float, room: float, wishes: Wishes, measured: Measured) -> tuple[int, float]:
    """The folds that fit after the search, and the seconds that it leaves to final trainings.

    whole: of the hours, what ensemble and scoring leave. room: the same of what is left of them. The reserve does not
    shrink as time passes, so the search ends where it begins. Only if a fold no longer fits at all, the search has the
    rest: then the time of a training was measured too late.
    """
    wanted, keeps_other = _wanted(total, whole, wishes, measured)
    counts = _counts(wanted, wishes) if wanted else ()
    folds = next((count for count in counts if _fits((count,), (count,), room, wishes, measured)), 0)
    if not folds:
        return 0, 0.0
    final = _FINAL_SHARE * total if measured.training_s is None else final_s(wanted, wishes, measured)
    if keeps_other:
        final += final_s(_fewest_folds(wishes), wishes, measured)
    return folds, min(final, room)


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
