"""What to do next: what the study's own data suggest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.experiment.domains import Choice, Integer, LogUniform, Uniform
from search.experiment.space import Space
from search.policy.records import TrialRecord, TrialState, searched
from search.report.sections.mistakes import Mistakes
from search.terminal.formatting import count_text, one_line, value_text

_EDGE = 0.08
"""A value within this share of its domain from an end lies at its edge."""
_TOP = 5
_AT_EDGE = 3
"""A domain's edge wins if this many of the best `_TOP` trials lie at it, the best among them."""
_MIXED_SHARE = 0.1
_FEWEST_MIXED = 3


@dataclass(frozen=True, slots=True)
class Advice:
    """One suggestion."""

    kind: str
    """`domain`, `class` or `label`."""
    text: str


def advice(records: Sequence[TrialRecord], space: Space | None, mistakes: Mistakes | None) -> tuple[Advice, ...]:
    """Suggestions, the most useful kind first."""
    domains = _domain_advice(records, space) if space else []
    return (*domains, *(_class_advice(mistakes) if mistakes else ()), *(_label_advice(mistakes) if mistakes else ()))


def _domain_advice(records: Sequence[TrialRecord], space: Space) -> list[Advice]:
    trials = [trial for trial in searched(records) if trial.best_rank and trial.state is TrialState.COMPLETE]
    best = sorted(trials, key=lambda trial: (trial.best_rank, -trial.number), reverse=True)
    found = []
    for name, domain in space.domains.items():
        if isinstance(domain, Choice):
            continue
        own = [trial for trial in best if name in trial.params][:_TOP]
        ends = [_edge(domain, trial.params[name]) for trial in own]
        if ends and ends[0] and ends.count(ends[0]) >= _AT_EDGE:
            text = (
                f"{one_line(name)}: {ends.count(ends[0])} of the best {len(own)} trials lie at the {ends[0]} end of"
                f" {domain}, the best one at {value_text(own[0].params[name])}. Try a wider domain there."
            )
            found.append(Advice("domain", text))
    return found


def _edge(domain: Uniform | LogUniform | Integer, value: object) -> str:
    """`lower`, `upper`, or '' for a value inside or outside of the domain."""
    if not isinstance(value, int | float) or value not in domain:
        return ""
    if isinstance(domain, Integer):
        return "lower" if value == domain.low else "upper" if value == domain.top else ""
    place = domain.unit(float(value))
    return "lower" if place <= _EDGE else "upper" if place >= 1.0 - _EDGE else ""


def _class_advice(mistakes: Mistakes) -> list[Advice]:
    """Classes of which a notable share is taken for one other class."""
    photos = {row.name: row.score.photos for row in mistakes.classes}
    return [
        Advice(
            "class",
            f"{one_line(pair.true)} is taken for {one_line(pair.predicted)} in {pair.count} of"
            f" {count_text(photos[pair.true], 'photo')}. More photos of these two classes, or a larger image size,"
            " would help most.",
        )
        for pair in mistakes.pairs
        if pair.count >= _FEWEST_MIXED and pair.count >= _MIXED_SHARE * photos[pair.true]
    ][:3]


def _label_advice(mistakes: Mistakes) -> list[Advice]:
    if not mistakes.doubt_count:
        return []
    verb = "looks" if mistakes.doubt_count == 1 else "look"
    text = (
        f"{count_text(mistakes.doubt_count, 'photo')} {verb} mislabelled: see the section on mistakes. A wrong label"
        " costs accuracy twice, in training and in the score."
    )
    return [Advice("label", text)]
