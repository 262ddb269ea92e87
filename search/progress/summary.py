"""Texts about a study that progress, status and report share. Pure functions of the records."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from carcls.events import EpochReport, StoreUse
from search.errors import StudyError
from search.policy.finals import Finalist, final_standing
from search.policy.records import TrialRecord, TrialState, searched
from search.progress.gpu_lines import gpu_lines
from search.terminal.formatting import count_text, duration_text, one_line, short_duration_text

ENDED_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

_ENOUGH_TRIALS = 3
"""Trials that must have ended or paused before their pace predicts the rest."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a search has used, and its limits."""

    device_hours: float = 0.0
    device_hours_limit: float | None = None
    device: str = "GPU"
    """The unit of device-hours: `GPU`, or `trial` if trials train on CPUs."""
    trials_limit: int | None = None
    elapsed_s: float | None = None
    """Wall-clock time of the search over all its runs, or None if not measured, which rules out an ETA."""
    hours_limit: float | None = None
    """Limit of wall-clock hours."""
    planned: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """For running trials, by number: the planned epochs of each stage."""


def status_lines(name: str, records: Sequence[TrialRecord], spent: Spent) -> tuple[str, ...]:
    """The state of a study as plain lines: counts, best trial, budget, store, and each running or interrupted trial."""
    store = store_text(store_use(report for record in records for report in record.reports))
    busy = (
        f"trial {record.number:04d}{_repeat_text(record)}:{' interrupted in' if is_interrupted(record) else ''}"
        f" {stage_position(record)}, epoch {record.fidelity}, {best_text(record)}"
        for record in records
        if record.state is TrialState.RUNNING or is_interrupted(record)
    )
    return (*summary_lines(name, records, spent), *([f"store: {store}"] if store else []), *busy)


def summary_lines(name: str, records: Sequence[TrialRecord], spent: Spent) -> tuple[str, ...]:
    """Counts per state, best trial, the finals' winner, and the budget, with the time left if known."""
    winner = winner_line(records)
    return (
        f"{one_line(name)}: {counts_line(records)}",
        best_line(records),
        *([winner] if winner else []),
        budget_line(records, spent),
        *gpu_lines(records),
    )


def counts_line(records: Sequence[TrialRecord]) -> str:
    """Trials by state: `2 running, 1 complete`; with repeats, `; finals: 1 running, 3 complete` follows."""
    repeats = _counts([record for record in records if record.repeats is not None])
    return (_counts(searched(records)) or "no trials yet") + (f"; finals: {repeats}" if repeats else "")


def _counts(records: Sequence[TrialRecord]) -> str:
    counts = Counter(state_name(record) for record in records)
    order = ("running", "interrupted", "waiting", "paused", "complete", "pruned", "infeasible", "failed")
    return ", ".join(f"{counts[name]} {name}" for name in order if counts[name])


def winner_line(records: Sequence[TrialRecord]) -> str | None:
    """The finals' winner and the baseline, or None before the first round is complete.

    `winner: trial 0003; accuracy at selection 0.9500, mean of 2 repeats 0.9218; baseline: 0.9400, ...`: the first
    accuracy made it a finalist, the second is that of the repeats only.
    """
    standing = final_standing(records)
    if not standing:
        return None
    best, baseline = standing[0], next((one for one in standing[1:] if one.trial.is_baseline), None)
    line = f"winner: trial {best.trial.number:04d}{', the baseline' if best.trial.is_baseline else ''}"
    line += f"; accuracy at selection {_final_text(best)}"
    return f"{line}; baseline: {_final_text(baseline)}" if baseline else line


def _final_text(finalist: Finalist) -> str:
    repeats = count_text(finalist.repeat_count, "repeat")
    return f"{finalist.selected_accuracy:.4f}, mean of {repeats} {finalist.repeated_accuracy:.4f}"


def _repeat_text(record: TrialRecord) -> str:
    return "" if record.repeats is None else f" (repeats {record.repeats:04d})"


def best_line(records: Sequence[TrialRecord]) -> str:
    """The best trial so far and its scores."""
    best = best_trial(records)
    return f"best: trial {best.number:04d}, {best_text(best)}" if best else "best: no epoch finished yet"


def budget_line(records: Sequence[TrialRecord], spent: Spent) -> str:
    """The used part of each limit, and the time left if known."""
    ended = ended_count(records)
    trials = count_text(ended, "trial") if spent.trials_limit is None else f"{ended} of {spent.trials_limit} trials"
    parts = [f"{trials} ended"]
    if spent.elapsed_s is not None:
        parts.append(f"{spent.elapsed_s / 3600:.2f}{_of(spent.hours_limit)} hours")
    parts.append(f"{spent.device_hours:.2f}{_of(spent.device_hours_limit)} {spent.device}-hours")
    left = seconds_left(records, spent)
    return "budget: " + ", ".join([*parts, *([f"about {duration_text(left)} left"] if left else [])])


def _of(limit: float | None) -> str:
    return "" if limit is None else f" of {limit:g}"


def seconds_left(records: Sequence[TrialRecord], spent: Spent) -> float | None:
    """Wall-clock seconds left at the pace so far, until the first limit is reached.

    None if the time was not measured, if nothing limits the search, or if too few trials have ended. Paused trials
    count as done: most of them stay paused. Promotions at rungs that lose force, and the finals, are not predicted.
    """
    done = sum(record.state in (*ENDED_STATES, TrialState.PAUSED) for record in searched(records))
    if spent.elapsed_s is None or done < _ENOUGH_TRIALS:
        return None
    used = (
        (float(done), spent.trials_limit),
        (spent.elapsed_s / 3600, spent.hours_limit),
        (spent.device_hours, spent.device_hours_limit),
    )
    share = max((amount / limit for amount, limit in used if limit), default=0.0)
    return spent.elapsed_s * (1.0 / min(share, 1.0) - 1.0) if share > 0.0 else None


def worker_seconds_left(record: TrialRecord, planned: Sequence[int]) -> float | None:
    """Seconds until a running trial reaches its next rung, by the length of its last epoch; None before the first.

    planned: epochs of each stage; empty if unknown.
    """
    last = record.reports[-1] if record.reports else None
    stop = record.stop_after_stage
    if last is None or stop is None or not planned:
        return None
    in_stage = last.stage_epoch if not last.stage_ended else 0
    first = last.stage + 1 if last.stage_ended else last.stage
    epochs = sum(planned[first : stop + 1]) - in_stage
    return max(0, epochs) * (last.seconds.train + last.seconds.validate)


def winner(records: Sequence[TrialRecord], number: int | None = None) -> TrialRecord:
    """The trial to retrain: `number`, or the finals' winner, or else the best trial that finished all its stages.

    Raises StudyError if there is none.
    """
    if number is not None:
        if not 0 <= number < len(records):
            raise StudyError(f"no trial {number} in this study: expected 0 to {len(records) - 1}")
        return records[number]
    best = _chosen(records)
    if best is None:
        raise StudyError("no trial of this study has finished all its stages: resume the search, or give --trial")
    return best


def leading_trial(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finals' winner, else the best trial that finished all its stages, else the best so far, or None."""
    return _chosen(records) or best_trial(records)


def _chosen(records: Sequence[TrialRecord]) -> TrialRecord | None:
    standing = final_standing(records)
    if standing:
        return standing[0].trial
    return best_trial([record for record in records if record.state is TrialState.COMPLETE])


def best_trial(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The trial with the best epoch, the earliest of equals, or None. Failed trials and repeats do not count."""
    ranked = [(record.best_rank, -record.number, record) for record in searched(records)
              if record.best_rank and record.state is not TrialState.FAIL]  # fmt: skip
    return max(ranked, key=lambda row: row[:2])[2] if ranked else None


def state_name(record: TrialRecord) -> str:
    """The trial's state as shown to users; a failure of the configuration itself is `infeasible`."""
    if record.state is TrialState.FAIL:
        return "infeasible" if record.infeasible else "failed"
    if is_interrupted(record):
        return "interrupted"
    return record.state.name.lower()


def store_use(reports: Iterable[EpochReport]) -> StoreUse:
    """What all these epochs together built and reused."""
    uses = [report.store for report in reports]
    return StoreUse(
        built=sum(use.built for use in uses),
        reused=sum(use.reused for use in uses),
        built_s=sum(use.built_s for use in uses),
        saved_s=sum(use.saved_s for use in uses),
    )


def store_text(use: StoreUse) -> str | None:
    """What was built and what was reused, or None if the store was not used.

    `12 artefacts built in 34 s; finished ones reused 210 times, which saved about 1 h 02 min of computing`
    """
    if not (use.built or use.reused):
        return None
    built = f"{count_text(use.built, 'artefact')} built in {short_duration_text(use.built_s)}"
    saved = f", which saved about {short_duration_text(use.saved_s)} of computing" if use.saved_s else ""
    reused = f"; finished ones reused {count_text(use.reused, 'time')}{saved}"
    return (built if use.built else "no artefact built") + (reused if use.reused else "")


def running(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that are training."""
    return [record for record in records if record.state is TrialState.RUNNING]


def is_interrupted(record: TrialRecord) -> bool:
    """True if it has run and waits to resume."""
    return record.state is TrialState.WAITING and record.attempts > 0


def as_interrupted(records: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The records as a resume will find them when no driver runs: those recorded as running are waiting."""
    return tuple(
        replace(record, state=TrialState.WAITING) if record.state is TrialState.RUNNING else record
        for record in records
    )


def ended_count(records: Sequence[TrialRecord]) -> int:
    """Number of trials that are complete, pruned or failed, without repeats."""
    return sum(record.state in ENDED_STATES for record in searched(records))


def stage_position(record: TrialRecord) -> str:
    """The current stage, with its name once it has reported an epoch."""
    stage = record.stage_count - 1 if record.next_stage is None else record.next_stage
    name = next((f" {report.stage_name}" for report in record.reports if report.stage == stage), "")
    return f"stage {stage + 1}/{record.stage_count}{name}"


def best_text(record: TrialRecord) -> str:
    """Accuracy and log-loss of the trial's best epoch."""
    best = record.best
    return f"best accuracy {best.val_accuracy:.4f} (log-loss {best.val_log_loss:.4f})" if best else "no epoch yet"
