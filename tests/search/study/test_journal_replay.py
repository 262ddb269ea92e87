"""The quick storage holds what Optuna's own holds, for every journal and every beginning of one."""

import json
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.trial import TrialState, create_trial

from search.study.record.journal import create_journal, cut_torn_line, open_journal
from search.study.record.journal_file import WholeLines
from search.study.study import Study
from tests.helpers.search.written_study import reopened, started, train

DOMAINS = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "size": IntDistribution(1, 8),
    "net": CategoricalDistribution(("a", "b", None)),
}
CHANGES = ("intermediate", "user", "system", "param", "complete", "prune", "study user", "study system")
ENDS = {"complete": TrialState.COMPLETE, "prune": TrialState.PRUNED}
change = st.tuples(st.sampled_from(CHANGES), st.integers(0, 5), st.integers(0, 4), st.floats(allow_nan=False))


def state_of(storage: JournalStorage) -> dict[str, object]:
    """All that a storage holds, without what differs between two processes."""
    state = dict(vars(storage._replay_result))
    del state["_worker_id_prefix"]
    for name in ("_studies", "_trials"):
        state[name] = {key: vars(one) for key, one in state[name].items()}
    return state


def assert_equal(log: Path) -> None:
    ours, theirs = open_journal(log), JournalStorage(WholeLines(log))
    assert state_of(ours) == state_of(theirs)
    assert vars(ours._replay_result).keys() == vars(theirs._replay_result).keys()


def write(log: Path, changes: list[tuple[str, int, int, float]]) -> None:
    """A journal by Optuna's own methods: two studies, of which the second is deleted, and trials of all states."""
    storage = create_journal(log)
    first = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "cars")
    second = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "gone")
    values = {"rate": 1e-3, "size": 4, "net": None}
    template = create_trial(state=TrialState.RUNNING, params=values, distributions=DOMAINS, user_attrs={"config": {}})
    trials = [storage.create_new_trial(first, template_trial=template if at % 2 else None) for at in range(5)]
    trials.append(storage.create_new_trial(second))
    storage.delete_study(second)
    for kind, at, step, value in changes:
        trial = trials[at]
        if kind == "study user":
            storage.set_study_user_attr(first, f"key{step}", value)
        elif kind == "study system":
            storage.set_study_system_attr(first, f"key{step}", value)
        elif storage.get_trial(trial).state.is_finished() or at == 5:
            continue
        elif kind == "intermediate":
            storage.set_trial_intermediate_value(trial, step, value)
        elif kind == "user":
            storage.set_trial_user_attr(trial, f"report:{step}", {"value": value})
        elif kind == "system":
            storage.set_trial_system_attr(trial, f"key{step}", value)
        elif kind == "param" and not at % 2:
            storage.set_trial_param(trial, "size", float(step + 1), DOMAINS["size"])
        elif kind in ENDS:
            storage.set_trial_state_values(trial, ENDS[kind], [value])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(change, max_size=25), st.data())
def test_it_holds_what_optunas_own_storage_holds(tmp_path_factory, changes, data):
    log = tmp_path_factory.mktemp("journal") / "study.log"
    write(log, changes)
    assert_equal(log)
    content = log.read_bytes()
    log.write_bytes(content[: data.draw(st.integers(0, len(content)), label="cut after")])
    cut_torn_line(log)
    assert_equal(log)


def test_a_journal_that_optuna_itself_wrote_is_read_alike(tmp_path: Path):
    log = tmp_path / "study.log"
    write(log, [("user", 1, 2, 0.5), ("intermediate", 1, 1, 0.25)])
    bare = [json.loads(line) for line in log.read_bytes().splitlines()]
    lines = [json.dumps({key: value for key, value in entry.items() if key != "check"}) + "\n" for entry in bare]
    log.write_text("".join(lines), encoding="utf-8")
    assert_equal(log)


def test_after_the_first_reading_a_trial_stays_as_it_was_taken(tmp_path: Path):
    """As with Optuna's own storage: our records hold parts of it."""
    log = tmp_path / "study.log"
    write(log, [("user", 1, 2, 0.5)])
    storage = open_journal(log)
    before = storage.get_trial(1)
    storage.set_trial_user_attr(1, "report:3", {"value": 1})
    storage.set_trial_intermediate_value(1, 3, 0.75)
    assert "report:3" not in before.user_attrs
    assert before.intermediate_values == {}
    assert storage.get_trial(1).user_attrs["report:3"] == {"value": 1}


def test_a_writer_continues_the_checksums_after_a_quick_reading(tmp_path: Path):
    with Study.create(tmp_path, "cars") as study:
        train(study, started(study), [0.5, 0.625])
        study.reach_stage(0)
    study = reopened(study, tmp_path)
    train(study, started(study), [0.25])
    records = study.records()
    study.close()
    assert Study.open(tmp_path, read_only=True).records() == records
    log = tmp_path / "study.log"
    log.write_bytes(log.read_bytes().replace(b'"val_accuracy":0.625', b'"val_accuracy":0.875'))
    with pytest.raises(Exception, match=r"study\.log, line \d+: damaged"):
        Study.open(tmp_path, read_only=True)
