"""Memory of a segment on its worker: before it starts, and from its child's messages."""

from dataclasses import replace
from multiprocessing.connection import Connection

import pytest

from carcls.config import TrainConfig
from carcls.training.steps.feature_batches import feature_batch
from search.policy.oom import OomKey, OomRecord
from search.worker import oom_detector, supervisor
from search.worker.oom_detector import OutOfMemoryDetector, known_out_of_memory, with_micro_batches
from search.worker.segment import Fallback, Fitted, Outcome, Segment, from_wire
from tests.helpers.search.trial_builders import epoch_report

STAGES = [
    {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 0.1},
    {"name": "half", "unfreeze": 0.5, "epochs": 1, "learning_rate": 0.1},
]
CONFIG = TrainConfig.model_validate(
    {"backbone": "MobileNet", "image_size": 96, "batch_size": 32, "head": {"batch_norm": False}, "stages": STAGES}
)
HERE = "CPU, 512 MiB"


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> Segment:
    monkeypatch.setattr(oom_detector, "memory_device", lambda _share, _gpu: HERE)
    known = [OomRecord(OomKey.of(CONFIG, 1, HERE), 8), OomRecord(OomKey.of(CONFIG, 0, "CPU, 1 MiB"), 2)]
    return Segment(
        study="/results/tiny",
        number=3,
        attempt=2,
        config=CONFIG.model_dump(mode="json"),
        resume=None,
        stop_after_stage=1,
        data_root="/data",
        view_seed=7,
        store={},
        threads=1,
        gpu_share=None,
        deterministic=True,
        oom_records=[refusal.to_json() for refusal in known],
    )


def test_a_worker_starts_with_what_fits_on_its_own_device(segment: Segment) -> None:
    here = with_micro_batches(segment)
    assert (here.device, here.micro_batch) == (HERE, [None, 4])
    assert replace(here, device="", micro_batch=[]) == segment


def test_what_is_known_to_have_no_room_here_is_not_tried_again(segment: Segment) -> None:
    assert known_out_of_memory(with_micro_batches(segment)) is None
    once = OomRecord(OomKey.of(CONFIG, 1, HERE), 1)
    again = with_micro_batches(replace(segment, oom_records=[*segment.oom_records, once.to_json()]))
    assert (known_out_of_memory(again), again.micro_batch) == (None, [None, 1]), "the fewest are tried once more"
    one = replace(once, tries=2)
    hopeless = with_micro_batches(replace(segment, oom_records=[*segment.oom_records, one.to_json()]))
    outcome = known_out_of_memory(hopeless)
    assert outcome == Outcome(
        "out_of_memory",
        "stage 'half': not tried, because 1 photos at once had no room on CPU, 512 MiB in 2 earlier tries,"
        " and fewer cannot train it",
        stage=1,
        oom_record=one.to_json(),
    )
    assert known_out_of_memory(replace(hopeless, stop_after_stage=0)) is None, "it does not come to that stage"
    assert known_out_of_memory(replace(hopeless, device="CPU, 1024 MiB")) is None


def test_the_actor_starts_no_process_for_it(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    from search.on_ray import actor as trial

    monkeypatch.setattr(supervisor, "segment_messages", lambda *_args, **_options: pytest.fail("a process was started"))
    told_to_tune: list[dict[str, str]] = []
    monkeypatch.setattr(trial.tune, "report", told_to_tune.append)
    one = OomRecord(OomKey.of(CONFIG, 0, HERE), 1, tries=2)
    trial.run_segment({"segment": replace(segment, oom_records=[one.to_json()]).to_json()})
    assert [from_wire(message) for message in told_to_tune] == [
        known_out_of_memory(with_micro_batches(replace(segment, oom_records=[one.to_json()])))
    ]


def told(memory: OutOfMemoryDetector, outcome: Outcome, exit_code: int | None = 0) -> Outcome:
    said = memory.annotate(outcome, exit_code)
    assert isinstance(said, Outcome)
    return said


def test_an_oom_record_names_key_and_photos(segment: Segment) -> None:
    memory = OutOfMemoryDetector(with_micro_batches(segment), kills_before=0)
    outcome = told(memory, Outcome("out_of_memory", "no room", stage=1))
    assert outcome == Outcome(
        "out_of_memory", "no room", stage=1, oom_record=OomRecord(OomKey.of(CONFIG, 1, HERE), 4).to_json()
    )
    whole = told(memory, Outcome("out_of_memory", "no room", stage=0))
    assert whole.oom_record == OomRecord(OomKey.of(CONFIG, 0, HERE), 32).to_json()


@pytest.mark.parametrize(("size_px", "batch_size"), [(224, 512), (224, 100), (448, 64), (1024, 8), (96, 48)])
def test_a_frozen_stage_never_computes_as_many_features_again(segment: Segment, size_px, batch_size) -> None:
    """Its head's batches may be larger than what the backbone sees at once."""
    config = CONFIG.model_copy(update={"image_size": size_px, "batch_size": batch_size})
    segment = replace(segment, config=config.model_dump(mode="json"), oom_records=[])
    ran: list[int] = []
    while known_out_of_memory(with_micro_batches(segment)) is None:
        here = with_micro_batches(segment)
        ran.append(feature_batch(size_px, here.micro_batch[0]))
        outcome = told(OutOfMemoryDetector(here, kills_before=0), Outcome("out_of_memory", "no room", stage=0))
        record = OomRecord.from_json(outcome.oom_record or {})
        assert record.photos == min(ran[-1], batch_size)
        segment = replace(segment, oom_records=[*segment.oom_records, record.to_json()])
    *before, last = ran
    assert before == sorted({*before}, reverse=True), "each try has fewer"
    assert before[-1:] == [last] == [1], "the smallest is tried twice"


def test_a_child_that_starts_with_fewer_photos_is_booked_under_these(segment: Segment) -> None:
    memory = OutOfMemoryDetector(with_micro_batches(segment), kills_before=0)
    memory.fitted(Fitted([None, 3]))
    outcome = told(memory, Outcome("out_of_memory", "no room", stage=1))
    assert outcome.oom_record == OomRecord(OomKey.of(CONFIG, 1, HERE), 3).to_json()


def _starts_with_two(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    messages.send(Fitted([None, 2]))
    messages.send(Outcome("out_of_memory", "no room", stage=1))


def test_the_supervisor_keeps_what_only_it_needs(segment: Segment) -> None:
    found = list(supervisor.segment_messages(segment, _starts_with_two))
    assert found == [
        Outcome(
            "out_of_memory",
            "no room",
            stage=1,
            oom_record=OomRecord(OomKey.of(CONFIG, 1, HERE), 2).to_json(),
        )
    ]


def test_an_oom_record_counts_the_tries_known_at_the_start(segment: Segment) -> None:
    once = OomRecord(OomKey.of(CONFIG, 1, HERE), 1)
    memory = OutOfMemoryDetector(with_micro_batches(replace(segment, oom_records=[once.to_json()])), kills_before=0)
    assert told(memory, Outcome("out_of_memory", stage=1)).oom_record == replace(once, tries=2).to_json()
    assert (
        told(memory, Outcome("out_of_memory", stage=0)).oom_record
        == OomRecord(OomKey.of(CONFIG, 0, HERE), 32).to_json()
    )


def test_a_child_that_cannot_tell_ran_out_where_its_epochs_had_come_to(segment: Segment) -> None:
    memory = OutOfMemoryDetector(replace(with_micro_batches(segment), first_stage=0), kills_before=0)
    assert told(memory, Outcome("out_of_memory")).stage == 0
    memory.annotate(epoch_report(1, stage=0), None)
    assert told(memory, Outcome("out_of_memory")).stage == 0
    memory.annotate(epoch_report(2, stage=0, ended=True), None)
    assert told(memory, Outcome("out_of_memory")).stage == 1
    later = OutOfMemoryDetector(replace(with_micro_batches(segment), first_stage=1), kills_before=0)
    assert told(later, Outcome("out_of_memory")).stage == 1
    later.annotate(Fallback(epoch=0, stage=0), None)
    assert told(later, Outcome("out_of_memory")).stage == 0, (
        "its checkpoints are lost: it has begun with the head again"
    )


@pytest.mark.parametrize(
    ("exit_code", "kills", "kind"),
    [(-9, (3, 4), "out_of_memory"), (-9, (3, 3), "killed"), (-9, (None, None), "killed"), (-6, (3, 4), "killed")],
)
def test_only_the_kernels_own_kill_is_taken_for_want_of_memory(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, exit_code, kills, kind
) -> None:
    monkeypatch.setattr(oom_detector, "oom_kills", lambda: kills[1])
    outcome = told(OutOfMemoryDetector(with_micro_batches(segment), kills[0]), Outcome("killed", "died"), exit_code)
    assert outcome.kind == kind
    if kind == "out_of_memory":
        assert outcome.oom_record == OomRecord(OomKey.of(CONFIG, 0, HERE), 32).to_json()
        assert outcome.cause == "died: killed by the system, which ran out of memory"
    else:
        assert outcome == Outcome("killed", "died")


def test_everything_else_passes_as_it_is(segment: Segment) -> None:
    memory = OutOfMemoryDetector(with_micro_batches(segment), kills_before=0)
    for outcome in (Outcome("ended"), Outcome("infeasible", "NaN"), Outcome("failed", "x"), Outcome("disk_full", "y")):
        assert told(memory, outcome) == outcome
    message = epoch_report(1)
    assert memory.annotate(message, None) is message
