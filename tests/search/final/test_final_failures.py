"""How a final training reacts to the failures of its processes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.config import TrainConfig
from carcls.errors import DataError, DiskFullError, DivergedError, OutOfMemoryError
from search.driver.nodes.oom_records import OomRecords
from search.errors import StudyError
from search.final.final_failures import FinalFailures, retry_text
from search.policy.oom import (
    OomKey,
    OomRecord,
    merged,
    micro_batch,
    never_fits,
    next_record,
    smallest_micro_batch,
)
from search.report.sections.split_batches import parts_rows
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker import oom_detector
from search.worker.child import outcome_of
from search.worker.oom_detector import OutOfMemoryDetector
from search.worker.segment import Outcome, Segment
from tests.helpers.search.trial_builders import epoch_report

HERE = "CPU, 512 MiB"
STAGES = [
    {"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 0.1},
    {"name": "half", "unfreeze": 0.5, "epochs": 1, "learning_rate": 0.1},
]


def config_of(batch_size: int, *, batch_norm: bool) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "backbone": "MobileNet",
            "image_size": 96,
            "batch_size": batch_size,
            "head": {"batch_norm": batch_norm},
            "stages": STAGES,
        }
    )


CONFIG = config_of(32, batch_norm=False)
START_OVER = "carsearch retrain r --replace"
after = partial(
    retry_text, config=CONFIG, deaths=0, max_restarts=3, what="the final training in r", start_over=START_OVER
)
make_failures = partial(FinalFailures, max_restarts=1, start_over=START_OVER)


def no_room(photos: int, config: TrainConfig = CONFIG, stage: int = 1, tries: int = 1) -> Outcome:
    refusal = OomRecord(OomKey.of(config, stage, HERE), photos, tries)
    cause = "OutOfMemoryError: stage 'half': no room; lower batch_size"
    return Outcome("out_of_memory", cause, stage=stage, oom_record=refusal.to_json())


def test_without_room_a_fresh_process_goes_on_with_half() -> None:
    assert after(no_room(32)) == (
        "no room for 32 photos at once in stage 'half': resuming from the last checkpoint with at most 16"
    )


@pytest.mark.parametrize(("photos", "config"), [(1, CONFIG), (2, config_of(2, batch_norm=True))])
def test_the_fewest_photos_get_one_more_try(photos: int, config: TrainConfig) -> None:
    assert after(no_room(photos, config), config=config) == (
        f"no room for {photos} photos at once in stage 'half': resuming from the last checkpoint with as many as before"
    )


def test_where_not_one_photo_fits_it_says_what_where_and_what_to_do() -> None:
    with pytest.raises(StudyError) as caught:
        after(no_room(1, tries=2))
    text = str(caught.value)
    assert "stage 'half': not even 1 photos at once fit at 96 px through MobileNet on CPU, 512 MiB" in text
    assert f"Start over with '{START_OVER}' and a smaller image size or backbone (--set retrain.image_size=" in text
    assert "lower batch_size" not in text, "that would not help"


@given(
    batch_size=st.sampled_from([2, 3, 8, 20, 64]),
    batch_norm=st.booleans(),
    room=st.integers(min_value=0, max_value=64),
)
def test_it_ends_with_what_fits_or_with_an_error(batch_size: int, batch_norm: bool, room: int) -> None:
    config, memory, tries = config_of(batch_size, batch_norm=batch_norm), (), 0
    while (photos := micro_batch(memory, config, 1, HERE) or batch_size) > room:
        tries += 1
        assert tries <= 9, "each try has half of the last, and the fewest have two"
        refusal = next_record(memory, OomKey.of(config, 1, HERE), photos)
        outcome = no_room(photos, config, tries=refusal.tries)
        memory = merged(memory, refusal)
        next_try = micro_batch(memory, config, 1, HERE)
        try:
            said = after(outcome, config=config)
            assert said.endswith(f"at most {next_try}" if (next_try or batch_size) < photos else "as many as before")
        except StudyError:
            assert room < smallest_micro_batch(config)
            return
    assert photos <= room


def test_a_killed_process_is_replaced_a_few_times() -> None:
    killed = Outcome("killed", "the final training's process died with exit code -9")
    assert after(killed, deaths=3) == f"{killed.cause}: resuming from the last checkpoint"
    with pytest.raises(StudyError, match=r"exit code -9, 4 times .* search.max_restarts \(3\)"):
        after(killed, deaths=4)
    with pytest.raises(StudyError, match="exit code -9, 1 times"):
        after(killed, deaths=1, max_restarts=0)


def test_a_cuda_library_that_fails_is_tried_once_more() -> None:
    doubtful = Outcome("doubtful", "InternalError: CUDNN_STATUS_NOT_INITIALIZED")
    assert after(doubtful, deaths=1) == (
        "InternalError: CUDNN_STATUS_NOT_INITIALIZED: resuming once from the last checkpoint, in case another process"
        " held the memory"
    )
    with pytest.raises(StudyError, match="InternalError: CUDNN_STATUS_NOT_INITIALIZED"):
        after(doubtful, deaths=2)


def test_other_errors_end_it_in_their_own_words(tmp_path: Path) -> None:
    output = tmp_path / "retrain" / "output.log"

    def told(error: Exception) -> Outcome:
        return outcome_of(error).with_user_cause(f"the traceback is in {output}")

    with pytest.raises(StudyError, match=r"^loss is nan\nand more$"):
        after(told(DivergedError("loss is nan\nand more")))
    with pytest.raises(StudyError, match=r"^1\.jpg is gone$"):
        after(told(DataError("1.jpg is gone")))
    with pytest.raises(DiskFullError, match=r"^no room for a\.npz$"):
        after(told(DiskFullError("no room for a.npz")))
    with pytest.raises(StudyError, match=r"^KeyError: 'x'; the traceback is in .*retrain/output\.log$"):
        after(told(KeyError("x")))
    assert told(OutOfMemoryError("full")).kind == "out_of_memory"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with Study.create(tmp_path, "final") as made:
        made.add_trial({}, CONFIG)
        yield made


def test_the_next_call_knows_oom_records_and_retries_the_smallest_micro_batch(study: Study) -> None:
    half, fewest = no_room(16), no_room(1, tries=2)
    memory = OomRecords(study)
    assert memory.add(CONFIG, half)
    assert not memory.add(CONFIG, fewest)
    assert [one.photos for one in OomRecords(study).all()] == [1]
    assert never_fits(memory.all(), CONFIG, 1, HERE) is not None

    searched = OomRecord(OomKey.of(CONFIG, 0, HERE), 32, tries=1)
    OomRecords(study).reset_tries([searched])
    assert {(one.key.unfreeze, one.photos, one.tries) for one in memory.all()} == {(0.5, 1, 1), (0.0, 32, 1)}
    assert never_fits(memory.all(), CONFIG, 1, HERE) is None, "there may be more memory now"
    assert micro_batch(memory.all(), CONFIG, 1, HERE) == 1


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def failures(study: Study, tmp_path: Path, said: list[str]) -> FinalFailures:
    study.start_segment(0, 1)
    return make_failures(study, StudyFolder(tmp_path), say=said.append, is_interrupted=lambda: False)


def test_a_death_is_said_and_one_too_many_ends_the_run(study: Study, failures: FinalFailures, said: list[str]) -> None:
    died = Outcome("killed", "died")
    study.interrupt(0, "died")
    assert failures.ended(0, died) is None
    assert said == ["died: resuming from the last checkpoint"]
    study.start_segment(0, 1)
    study.fail(0, "died", infeasible=failures.blames_configuration(died))
    why = failures.ended(0, died)
    assert why is not None
    assert isinstance(failures.error, StudyError)
    assert str(failures.error) == why
    assert why.startswith(f"the final training in {failures._folder.root}, before its first epoch: died, 2 times")
    assert study.retry(0), "a later call tries again"


def test_a_fold_that_diverges_is_named_in_the_words_of_its_error(study: Study, tmp_path: Path) -> None:
    second = study.add_trial({}, CONFIG, fold=1)
    study.start_segment(second, 1)
    outcome = outcome_of(DivergedError("loss is nan"))
    failures = make_failures(study, StudyFolder(tmp_path), say=print, is_interrupted=lambda: False)
    study.fail(second, outcome.cause or "", infeasible=failures.blames_configuration(outcome))
    assert failures.ended(second, outcome) == "loss is nan"
    assert (
        failures.what(study.record(second))
        == f"fold 2 of 2 of the final training in {tmp_path}, before its first epoch"
    )


def test_a_training_that_can_never_succeed_names_the_whole_command_that_starts_over(
    study: Study, failures: FinalFailures
) -> None:
    study.fail(0, "its files are gone", infeasible=True)
    why = failures.ended(0, Outcome("failed", "its files are gone"))
    assert why is not None
    assert why.endswith(f": its files are gone; start over with '{START_OVER}'")


def test_nothing_is_said_of_a_death_once_its_user_wants_an_end(study: Study, tmp_path: Path, said: list[str]) -> None:
    study.start_segment(0, 1)
    failures = make_failures(study, StudyFolder(tmp_path), say=said.append, is_interrupted=lambda: True)
    study.interrupt(0, "died")
    assert failures.ended(0, Outcome("killed", "died")) is None
    assert said == []


@pytest.mark.parametrize("kind", ["unfit", "unavailable", "disk_full", "unable"])
def test_a_fault_that_another_node_may_not_have_ends_no_training(
    study: Study, failures: FinalFailures, said: list[str], kind: str
) -> None:
    study.interrupt(0, "node-1: other photos", died=False)
    assert failures.ended(0, Outcome(kind, "other photos")) is None
    assert failures.error is None
    assert said == []


def test_the_page_tells_of_its_parts_as_of_those_of_trials() -> None:
    cut = replace(epoch_report(1), micro_batch=4, notes=("in parts of at most 4",))
    (row,) = parts_rows((), (cut, replace(epoch_report(2), micro_batch=4), epoch_report(3)))
    assert (row.number, row.micro_batch, row.epochs, row.notes) == (None, 4, 2, ("in parts of at most 4",))
    assert parts_rows((), (epoch_report(1),)) == ()


def test_a_kill_after_the_last_epoch_is_the_last_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring also needs memory: what it lacked counts against the last stage."""
    monkeypatch.setattr(oom_detector, "oom_kills", lambda: 1)
    segment = Segment(
        study="",
        number=-1,
        attempt=0,
        config=CONFIG.model_dump(mode="json"),
        resume=None,
        stop_after_stage=1,
        data_root="",
        view_seed=0,
        store={},
        threads=1,
        gpu_share=None,
        deterministic=False,
        device=HERE,
        micro_batch=[None, 8],
    )
    told = OutOfMemoryDetector(segment, kills_before=0)
    told.annotate(replace(epoch_report(3), stage=1, stage_ended=True), None)
    outcome = told.annotate(Outcome("killed", "died"), -9)
    assert outcome is not None
    assert outcome.oom_record == OomRecord(OomKey.of(CONFIG, 1, HERE), 8).to_json()


def test_a_gpu_that_cannot_be_used_ends_no_training_that_another_gpu_continues(
    study: Study, failures: FinalFailures, said: list[str]
) -> None:
    gone = Outcome("failed", "DeviceError: a GPU was granted but tensorflow sees none", gpu_fault=True)
    study.interrupt(0, f"GPU 1 of here: {gone.cause}", died=False)
    assert failures.ended(0, gone) is None
    assert said == [f"GPU 1 of here: {gone.cause}: resuming from the last checkpoint on another GPU"]
    study.start_segment(0, 1)
    study.fail(0, gone.cause or "", infeasible=False)
    assert failures.ended(0, gone) == gone.cause, "without another GPU"
