"""The commands: exit codes, one message instead of a traceback, and output."""

import csv
import re
import resource
import shutil
from collections import Counter
from pathlib import Path

import pytest

from carcls.splits.split_files import read_split
from search.cli.app import main
from search.experiment.experiment import load
from search.progress.closing_lines import search_closing
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran
from tests.helpers.search.tiny import CLASSES, EXPERIMENT, FIXED, STAGES, TEST_PER_CLASS, write_tiny

CHECK_CPU_S = 1.0


def refused(done, *words: str) -> None:
    """Asserts one message on stderr with all of `words`, and exit code 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("carsearch: "), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr


def test_check_says_what_the_search_would_do(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    done = run_cli("check", "tiny.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny.yaml: ok"
    assert "  stages: head 2 + top 1 = 3 epochs" in lines
    assert "  search: 4 trials by tpe; after each stage the best 1/3 continue" in lines
    assert "  train.head.dropout: uniform [0, 0.5], first 0.25" in lines


def test_check_takes_less_than_a_second_of_cpu(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    run_cli("check", "tiny.yaml", cwd=tmp_path)  # byte code is compiled once
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_cli("check", "tiny.yaml", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < CHECK_CPU_S


def test_check_reads_the_recipes_of_a_portfolio(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    (tmp_path / "recipe.yaml").write_text(FIXED, encoding="utf-8")

    def check(*recipes: str):
        return run_cli("check", "tiny.yaml", "--set", f"search.portfolio=[{', '.join(recipes)}]", cwd=tmp_path)

    assert check("recipe.yaml").returncode == 0
    refused(check("recipe.yaml", "none.yaml"), "none.yaml", "no such file")
    refused(check("tiny.yaml"), "tiny.yaml: search.portfolio: tiny.yaml: has domains to search; expected a recipe")


def test_check_warns_of_photos_that_are_not_here(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    done = run_cli("check", "tiny.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    missing = f"data.root (no such folder: {tmp_path / 'data'})"
    assert done.stdout.splitlines()[0] == f"tiny.yaml: ok, but not here: {missing}"


@pytest.mark.parametrize("command", ["check", "run", "train"])
def test_a_file_that_is_not_there(tmp_path: Path, command: str) -> None:
    refused(run_cli(command, "absent.yaml", cwd=tmp_path), "absent.yaml")


@pytest.mark.parametrize("command", ["check", "run", "train"])
def test_an_unknown_key_is_named_with_its_line_and_the_nearest(tmp_path: Path, command: str) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT.replace("batch_size", "batchsize"), encoding="utf-8")
    line = EXPERIMENT.splitlines().index("  batch_size: 8") + 1
    refused(run_cli(command, "tiny.yaml", cwd=tmp_path), f"tiny.yaml:{line}: train.batchsize", "'batch_size'")


def test_an_override_that_is_wrong_is_named_as_it_was_given(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    refused(run_cli("check", "tiny.yaml", "--set", "search.trails=3", cwd=tmp_path), "search.trails", "'trials'")


def test_no_hours_at_all_are_refused_before_a_study_is_made(tmp_path: Path) -> None:
    write_tiny(tmp_path, EXPERIMENT)
    done = run_cli("run", "tiny.yaml", "--hours", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected more than 0" in done.stderr
    assert not (tmp_path / "results").exists()


def test_run_without_photos_leaves_no_study(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    refused(run_cli("run", "tiny.yaml", cwd=tmp_path), "data.root", str(tmp_path / "data"))
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_run_on_an_existing_study_names_resume_and_replace(finished: Ran) -> None:
    log = finished.folder.log.read_bytes()
    done = run_cli("run", finished.file.name, cwd=finished.cwd)
    refused(done, f"carsearch resume {finished.folder.root}", "--replace")
    assert len(done.stderr.splitlines()) == 1
    assert finished.folder.log.read_bytes() == log


def test_train_refuses_a_file_with_domains(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    refused(run_cli("train", "tiny.yaml", cwd=tmp_path), "train.head.dropout", "carsearch run", "--set")


@pytest.mark.parametrize("command", ["resume", "status", "report", "retrain", "submit"])
def test_a_folder_that_holds_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr("sys.argv", ["carsearch", command, str(tmp_path / "nowhere")])  # in this process: 3 s less
    with pytest.raises(SystemExit) as exited:
        main()
    told = capsys.readouterr()
    assert exited.value.code == 2
    assert told.out == ""
    assert told.err.startswith(f"carsearch: {tmp_path / 'nowhere'} holds no study")
    assert len(told.err.splitlines()) == 1


def test_run_told_what_happened_and_where_the_report_is(finished: Ran) -> None:
    assert "trial 0000 started (baseline)" in finished.output
    assert "trial 0000 complete after 3 epochs" in finished.output
    root = finished.folder.root
    assert f"report: {finished.folder.report}\n" in finished.output
    closing = finished.output.splitlines()[-6:]
    assert closing[0] == "ended: all 4 trials of search.trials have run"
    assert closing[1].startswith("winner: trial 000")
    assert "log-loss" in closing[1]
    assert closing[2].startswith("its settings: train.head.dropout=")
    assert re.match(
        r"expect on new photos: accuracy 0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\); the 0\.\d{3} above was measured",
        closing[3],
    )
    assert closing[4] == f"to extend it: carsearch resume {root} --set search.trials=..."
    assert closing[5] == f"next: carsearch retrain {root}"
    assert "Traceback" not in finished.output
    assert "A new study created" not in finished.output, "Optuna's own lines are silenced"


def test_a_command_that_goes_on_by_itself_names_no_next_one(finished: Ran) -> None:
    experiment, study = load(finished.file), Study.open(finished.folder.root, read_only=True)
    told = search_closing(finished.folder, experiment, study)
    assert search_closing(finished.folder, experiment, study, goes_on=True) == told[:-2]
    assert [line.split(":")[0] for line in told[-2:]] == ["to extend it", "next"]


def test_status_counts_the_trials_of_a_finished_study(finished: Ran) -> None:
    done = run_cli("status", str(finished.folder.root), cwd=finished.cwd)
    states = Counter(record.state.lower() for record in finished.records)
    assert done.returncode == 0, done.stderr
    for state, count in states.items():
        assert f"{count} {state}" in done.stdout


def test_report_is_one_page_that_names_the_winner(finished: Ran) -> None:
    finished.folder.report.unlink()
    done = run_cli("report", str(finished.folder.root), cwd=finished.cwd)
    assert (done.returncode, done.stdout) == (0, f"report: {finished.folder.report}\n")
    page = finished.folder.report.read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org", "")
    for record in finished.records:
        assert f"{record.number:04d}" in page


def test_submit_needs_a_final_model(finished: Ran, tmp_path: Path) -> None:
    copy = tmp_path / "tiny"
    shutil.copytree(finished.folder.root, copy, ignore=shutil.ignore_patterns("retrain"))
    refused(run_cli("submit", str(copy), cwd=tmp_path), f"carsearch retrain {copy}")


def test_submit_follows_the_samples_order_and_names_unreadable_photos(retrained: Ran) -> None:
    data = retrained.cwd / "data"
    with (data / "sample-submission.csv").open(encoding="utf-8") as rows:
        ids = [row["Id"] for row in csv.DictReader(rows)]
    broken = data / "test_upload" / ids[1]
    whole = broken.read_bytes()
    broken.write_bytes(b"no photo")
    try:
        done = run_cli("submit", str(retrained.folder.root), cwd=retrained.cwd)
    finally:
        broken.write_bytes(whole)

    assert done.returncode == 0, done.stderr
    rows = len(ids)
    assert rows == CLASSES * TEST_PER_CLASS
    told = done.stdout.splitlines()[-4:]
    assert told[0] == f"submission: {retrained.folder.submission} ({rows} rows)"
    assert told[1] == f"ended: all {rows} rows have a prediction, 1 of them the most frequent class"
    assert told[2].startswith("by: trial 000")
    assert "log-loss" in told[2]
    assert told[3].startswith(f"next: hand in {retrained.folder.submission}")
    assert f"warning: {ids[1]} cannot be read: it got the most frequent class" in done.stderr.splitlines()
    with retrained.folder.submission.open(encoding="utf-8") as written:
        answers = list(csv.DictReader(written))
    assert [row["Id"] for row in answers] == ids
    assert {row["Category"] for row in answers} <= {"0", "1", "2"}
    split = read_split(retrained.folder.split, data)
    frequent = Counter(split.train.labels.tolist()).most_common(1)[0][0]
    assert answers[1]["Category"] == split.class_names[frequent]


def test_predict_prints_a_line_for_each_photo_and_fails_where_one_did(retrained: Ran) -> None:
    photos = sorted((retrained.cwd / "data" / "test_upload").iterdir())[:2]
    broken = retrained.cwd / "broken.jpg"
    broken.write_bytes(b"no photo")
    good = run_cli("predict", str(retrained.folder.model), *map(str, photos), cwd=retrained.cwd)
    bad = run_cli("predict", str(retrained.folder.model), str(photos[0]), str(broken), cwd=retrained.cwd)

    assert good.returncode == 0, good.stderr
    lines = [line.split("\t") for line in good.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(photo) for photo in photos]
    for _, label, probability in lines:
        assert label in {"0", "1", "2"}
        assert 1 / CLASSES <= float(probability) <= 1.0
    assert bad.returncode == 1
    assert bad.stdout.splitlines() == good.stdout.splitlines()[:1]
    assert any(line.startswith(f"{broken}: ") for line in bad.stderr.splitlines())


def test_no_name_can_forge_a_line_of_predict(retrained: Ran) -> None:
    photo = min((retrained.cwd / "data" / "test_upload").iterdir()).read_bytes()
    folder = retrained.cwd / "odd"
    folder.mkdir()
    for name in ("a\tb.jpg", "c\n/x.jpg\t0\t1.0000".replace("/", "_"), "d.jpg_large", "e\x1b.jpg"):
        (folder / name).write_bytes(photo)
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    done = run_cli("predict", str(retrained.folder.model), str(folder), cwd=retrained.cwd)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0].removeprefix(f"{folder}/") for line in lines] == [
        "a\\tb.jpg",
        "c\\n_x.jpg\\t0\\t1.0000",
        "d.jpg_large",
        "e\\x1b.jpg",
    ]
    assert {len(line) for line in lines} == {3}
    assert (done.returncode, f"{folder}/gone.jpg: a link to nothing" in done.stderr.splitlines()) == (1, True)


def test_resume_of_a_finished_study_trains_nothing_more(finished: Ran) -> None:
    before = finished.records
    done = run_cli("resume", str(finished.folder.root), cwd=finished.cwd)
    assert done.returncode == 0, done.stderr
    assert finished.records == before
    assert "started" not in done.stdout


def test_resume_refuses_to_change_what_finished_trials_mean(finished: Ran) -> None:
    done = run_cli("resume", str(finished.folder.root), "--set", "train.batch_size=4", cwd=finished.cwd)
    refused(done, "train.batch_size", "search.trials")
    assert load(finished.folder.experiment).bind(finished.records[0].params).batch_size == 8


def test_train_goes_through_all_stages_and_knows_when_it_is_finished(tmp_path: Path) -> None:
    write_tiny(tmp_path, FIXED)
    done = run_cli("train", "tiny.yaml", cwd=tmp_path)
    again = run_cli("train", "tiny.yaml", cwd=tmp_path)
    other = run_cli("train", "tiny.yaml", "--set", "train.batch_size=4", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    epochs = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert epochs == [["1/3", "head"], ["2/3", "head"], ["3/3", "top"]]
    assert again.returncode == 0, again.stderr
    assert "is already finished" in again.stdout
    assert not any(line.startswith("epoch") for line in again.stdout.splitlines())
    scores = [line for line in done.stdout.splitlines() if line.startswith("validation")]
    assert len(scores) == STAGES
    assert [line for line in again.stdout.splitlines() if line.startswith("validation")] == scores
    refused(other, "other settings", "--replace")


def test_run_or_resume_of_a_finished_study_says_so_and_succeeds(finished: Ran) -> None:
    before = finished.records
    done = run_cli("run", finished.file.name, "--or-resume", cwd=finished.cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{finished.folder.root} is finished: ")
    assert done.stdout.splitlines()[-1] == f"next: carsearch retrain {finished.folder.root}"
    assert finished.records == before


def test_run_or_resume_refuses_another_search_and_a_contradiction(finished: Ran) -> None:
    other = run_cli("run", finished.file.name, "--or-resume", "--set", "train.batch_size=4", cwd=finished.cwd)
    refused(other, "train.batch_size: 8 -> 4", "--replace")
    both = run_cli("run", finished.file.name, "--or-resume", "--replace", cwd=finished.cwd)
    assert both.returncode == 2
    assert "give only one of them" in both.stderr


def test_resume_names_the_limit_that_ended_it(finished: Ran, tmp_path: Path) -> None:
    """More trials alone train nothing once the hours are used up, so the advice names both."""
    root = tmp_path / "tiny"
    shutil.copytree(finished.folder.root, root)
    done = run_cli("resume", str(root), "--set", "search.trials=8", "--set", "search.budget.hours=1e-6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "ended: search.budget.hours (1e-06) are used up" in lines
    assert f"to extend it: carsearch resume {root} --set search.budget.hours=..." in lines
    assert not any("started" in line for line in lines)
