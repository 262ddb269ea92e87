"""Random studies, cut at any byte of their journal as by a power cut: each opens in a state that it had."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import fsum
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.events import PhaseSeconds
from search.experiment.changes import Change
from search.policy.records import TrialRecord, TrialState
from search.study.study import Study
from tests.helpers.search.trial_builders import epoch_report
from tests.helpers.search.written_study import CONFIG, RATE, SPACE

Act = Callable[[Study, Random], None]
State = tuple[tuple[object, ...], ...]

STEPS = 25
CUTS = 12
"""Number of random bytes at which each journal is cut, besides the end of every line."""


def a_trial(study: Study, chance: Random) -> None:
    finalists = [record.number for record in study.records() if record.state is TrialState.COMPLETE]
    repeats = chance.choice([None, *finalists[:1]]) if finalists else None
    repeats = None if repeats is None or study.record(repeats).repeats is not None else repeats
    study.add_trial({RATE: chance.choice([1e-4, 1.0])}, CONFIG, space=SPACE, is_baseline=False, repeats=repeats)


def a_hand_out(study: Study, chance: Random) -> None:
    record = one(study, chance, TrialState.WAITING, TrialState.PAUSED)
    if record is not None:
        first = record.next_stage or 0
        study.start_segment(record.number, chance.randint(first, 2), run_to_end=chance.random() < 0.2)


def an_epoch(study: Study, chance: Random) -> None:
    record = one(study, chance, TrialState.RUNNING)
    if record is not None and record.next_stage is not None and not record.has_ended(record.stop_after_stage):
        accuracy = chance.choice([0.25, 0.5, float("nan")])
        ended = chance.random() < 0.6
        report = epoch_report(record.fidelity + 1, stage=record.next_stage, accuracy=accuracy, ended=ended)
        seconds = PhaseSeconds(train=10 ** chance.uniform(-3, 5), validate=chance.random())
        study.report(record.number, replace(report, seconds=seconds))


def a_fallback(study: Study, chance: Random) -> None:
    record = one(study, chance, TrialState.RUNNING)
    if record is not None:
        study.fall_back(record.number, chance.randint(0, record.fidelity))


def an_end(study: Study, chance: Random) -> None:
    record = one(study, chance, TrialState.RUNNING)
    if record is None:
        return
    if record.reports and record.reports[-1].stage_ended:
        study.reach_stage(record.number)
    else:
        chance.choice([interrupted, infeasible, failed])(study, record.number)


def interrupted(study: Study, number: int) -> None:
    study.interrupt(number, "node lost")


def infeasible(study: Study, number: int) -> None:
    study.fail(number, "diverged", infeasible=True)


def failed(study: Study, number: int) -> None:
    study.fail(number, "ValueError: a bug", infeasible=False, traceback="trials/0000/attempt-0/output.log")


def a_second_try(study: Study, chance: Random) -> None:
    record = one(study, chance, TrialState.FAIL)
    if record is not None:
        study.retry(record.number)


def a_value(study: Study, chance: Random) -> None:
    chance.choice(
        [
            lambda: study.set_elapsed_s(round(chance.uniform(0, 99), 3)),
            lambda: study.set_budget_exhausted(finals=chance.random() < 0.5),
            lambda: study.add_changes([Change("search.trials", 4, chance.randint(5, 9))]),
        ]
    )()


def one(study: Study, chance: Random, *states: TrialState) -> TrialRecord | None:
    found = [record for record in study.records() if record.state in states]
    return chance.choice(found) if found else None


ACTS: tuple[Act, ...] = (a_trial, a_hand_out, an_epoch, an_epoch, an_epoch, a_fallback, an_end, a_second_try, a_value)


def state_of(study: Study) -> State:
    """All that policy and budget depend on. Records are text, since NaN is not equal to itself."""
    values = (study.elapsed_s, study.budget_exhausted, study.finals_exhausted, study.is_finished)
    changes = tuple(str(change) for change in study.changes)
    configs = tuple(study.config(record.number) for record in study.records())
    return (tuple(repr(record) for record in study.records()), configs, values, changes)


def live(folder: Path, chance: Random) -> list[tuple[int, State]]:
    """`STEPS` random actions and the end of a study: (bytes of the journal, state) after each."""
    log = folder / "study.log"
    with Study.create(folder, "cars") as study:
        states = [(log.stat().st_size, state_of(study))]
        for act in (*(chance.choice(ACTS) for _ in range(STEPS)), Study.interrupt_running, Study.finish):
            if act in (Study.interrupt_running, Study.finish):
                act(study)
            else:
                act(study, chance)
            states.append((log.stat().st_size, state_of(study)))
            assert study.trained_s == fsum(record.trained_s for record in study.records()), "a sum that never drifts"
    return states


@given(st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_random_study_cut_at_any_byte_opens(tmp_path_factory, chance: Random) -> None:
    folder = tmp_path_factory.mktemp("life")
    states = live(folder, chance)
    log = folder / "study.log"
    content = log.read_bytes()
    born = states[0][0]
    lines = [at + 1 for at in range(born, len(content)) if content[at : at + 1] == b"\n"]
    for cut in sorted({born, *lines, *(chance.randint(born, len(content)) for _ in range(CUTS))}):
        log.write_bytes(content[:cut])
        (folder / "study.log.lock").touch()  # a process that died while appending held its lock
        acknowledged = max(step for step, (size, _) in enumerate(states) if size <= cut)
        found = state_of(Study.open(folder, read_only=True))
        before, after = states[acknowledged][1], states[min(acknowledged + 1, len(states) - 1)][1]
        assert found in (before, after) or is_between(found, before, after), f"cut at byte {cut} of {len(content)}"
        with Study.open(folder) as study:
            if not study.is_finished:
                assert state_of(study) == found, "repairs do not change our state"
            study.interrupt_running()
            assert TrialState.RUNNING not in {record.state for record in study.records()}
            kept = state_of(study)
        assert state_of(Study.open(folder, read_only=True)) == kept
        assert all(json.loads(line) for line in log.read_bytes().splitlines())


def is_between(found: State, before: State, after: State) -> bool:
    """True after a part of an action's writes: each trial and each value is as before or as after the action."""
    parts = zip(found, before, after, strict=True)
    return all(part in (old, new) or (len(part) == len(old) == len(new) and _mixed(part, old, new))
               for part, old, new in parts)  # fmt: skip


def _mixed(found: tuple[object, ...], old: tuple[object, ...], new: tuple[object, ...]) -> bool:
    return all(one in pair for one, *pair in zip(found, old, new, strict=True))
