"""The rungs of a search with their trials, for the status. Pure."""

from collections.abc import Sequence

from search.policy.records import TrialRecord, TrialState, searched


def ladder_rows(records: Sequence[TrialRecord]) -> list[tuple[str, ...]]:
    """For each stage: its name, trials running in it, paused at its end, past its end, and the best accuracy there.

    Repeats do not count. Empty before the first epoch. Stages that no trial has begun have a number instead of a name.
    """
    trials = searched(records)
    names = {report.stage: report.stage_name for record in trials for report in record.reports}
    if not names:
        return []
    count = max(record.stage_count for record in trials)
    return [_row(stage, names.get(stage, f"stage {stage + 1}"), trials) for stage in range(count)]


def _row(stage: int, name: str, trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    ended = [record for record in trials if record.has_ended(stage)]
    scores = [
        report.val_accuracy
        for record in ended
        if record.state is not TrialState.FAIL
        for report in record.reports
        if report.stage == stage and report.stage_ended
    ]
    running = sum(record.state is TrialState.RUNNING and record.next_stage == stage for record in trials)
    paused = sum(record.state is TrialState.PAUSED and record.rung == stage for record in ended)
    best = f"{max(scores):.4f}" if scores else "–"
    return name, str(running), str(paused), str(len(ended) - paused), best
