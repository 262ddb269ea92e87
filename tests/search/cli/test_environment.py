"""Unusual machines: without HOME, without a backend, or with a user's keras.json."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from search.cli.error_messages import refusal_text
from search.final.final_study import final_reports
from search.study.folder import StudyFolder
from search.terminal.console import SafeStream, console
from tests.helpers.search.ran import Ran, read_records, timeless
from tests.helpers.search.screen import carsearch
from tests.helpers.search.tiny import FIXED, write_tiny

FOREIGN = {"backend": "tensorflow", "floatx": "float16", "epsilon": 0.25, "image_data_format": "channels_first"}
ROOT = Path(__file__).parents[3]


def called(
    *arguments: str, cwd: Path, without: tuple[str, ...] = (), prefix: tuple[str, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [*prefix, *carsearch(*arguments)],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("carsearch: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [word for word in words if word not in done.stderr] == []


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tiny(tmp_path)
    (tmp_path / "fixed.yaml").write_text(FIXED.replace("name: tiny", "name: fixed"), encoding="utf-8")
    (tmp_path / "kerashome").mkdir()
    return tmp_path


def keras_json(place: Path, content: object) -> str:
    (place / "kerashome" / "keras.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return str(place / "kerashome")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"backend": "theano", "image_dim_ordering": "th"}, ["theano"]),
        ({"backend": "numpy"}, ["'numpy'", "tensorflow"]),
        ({"backend": "tensorflow", "floatx": "float12"}, ["float12"]),
        ({"backend": "tensorflow", "epsilon": 1}, ["epsilon"]),
        ("[1, 2]", ["AttributeError"]),
    ],
)
def test_an_unusable_keras_json_is_one_line_before_training(place: Path, content, words) -> None:
    done = called("train", "fixed.yaml", cwd=place, KERAS_HOME=keras_json(place, content))
    one_line(done, *words, str(place / "kerashome" / "keras.json"), "KERAS_BACKEND")


def test_a_broken_framework_ends_a_search_that_run_can_then_start_again(place: Path) -> None:
    """Not a death, which each trial would retry and the command would ignore."""
    broken = place / "broken"
    broken.mkdir()
    (broken / "tensorflow.py").write_text("raise OSError('libcudart.so.99: cannot open shared object file')")
    done = called("run", "tiny.yaml", cwd=place, PYTHONPATH=os.pathsep.join([str(ROOT), str(broken)]))
    one_line(done, "libcudart.so.99")
    study = StudyFolder(place / "results" / "tiny")
    assert read_records(study) == ()
    # The file was at fault as well: what runs now is what it says now.
    text = (place / "tiny.yaml").read_text().replace("trials: 4", "trials: 1")
    (place / "tiny.yaml").write_text(text)
    again = called("run", "tiny.yaml", cwd=place)
    assert again.returncode == 0, again.stderr
    assert len(read_records(study)) == 1


def test_somebodys_keras_settings_change_no_number(place: Path) -> None:
    before = called("train", "fixed.yaml", "--set", "name=before", cwd=place)
    limits = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}
    after = called(
        "train", "fixed.yaml", "--set", "name=after", cwd=place, KERAS_HOME=keras_json(place, FOREIGN), **limits
    )
    assert (before.returncode, after.returncode) == (0, 0), after.stderr
    numbers = [
        [
            (one.epoch, one.train_loss, one.val_log_loss, one.val_accuracy)
            for one in final_reports(StudyFolder(place / "results" / name))[0]
        ]
        for name in ("before", "after")
    ]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 3


UNKNOWN_USER = ("unshare", "--user", "--map-user=12345")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("store", "ls"), "CARSEARCH_STORE"),
        (("run", "tiny.yaml"), "HOME"),
        (("train", "fixed.yaml"), "CARSEARCH_STORE"),
        (("check", "tiny.yaml", "--set", "data.root=~/x"), "HOME"),
    ],
)
def test_without_a_home_there_is_one_line(place: Path, arguments, word) -> None:
    without = ("HOME", "CARSEARCH_STORE", "USER", "LOGNAME")
    one_line(called(*arguments, cwd=place, without=without, prefix=UNKNOWN_USER), "12345", word, "set HOME")
    assert not (place / "results" / "tiny").exists()


@pytest.mark.parametrize("columns", ["0", "-1", "", "²", "nonsense"])
def test_a_size_that_is_none_is_passed_over(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    assert (console().width, console().height) == (80, 25)


def test_status_says_the_same_at_no_width(finished: Ran) -> None:
    told = [called("status", str(finished.folder.root), cwd=finished.cwd, **size) for size in ({}, {"COLUMNS": "0"})]
    assert told[0].stdout == told[1].stdout
    assert told[0].stdout.startswith("tiny: ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/closed"), ["/closed: Permission denied"]),
        (OSError(22, "Invalid argument"), ["Invalid argument"]),
        (BrokenPipeError(32, "Broken pipe"), ["Broken pipe"]),
        (OSError("something of a library's"), ["something of a library's"]),
        (OSError(), ["no cause"]),
        (EOFError(), ["ended"]),
        (OSError(28, "No space left on device"), ["No space left", "free some space"]),
    ],
)
def test_whatever_the_system_refuses_is_one_line(error: OSError | EOFError, words: list[str]) -> None:
    text = refusal_text(error)
    assert len(text.splitlines()) == 1
    assert [word for word in words if word not in text] == []


def test_a_folder_that_was_deleted_is_named(place: Path) -> None:
    gone = place / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    done = called("check", str(place / "tiny.yaml"), cwd=place, prefix=("sh", "-c", command, "sh"))
    one_line(done, "the current folder no longer exists")


class _Refusing:
    """A stream that fails after so many writes."""

    encoding = "ascii"

    def __init__(self, error: OSError, after: int) -> None:
        self._error, self._left, self.text = error, after, ""

    def write(self, text: str) -> int:
        text.encode(self.encoding)
        if self._left == 0:
            raise self._error
        self._left -= 1
        self.text += text
        return len(text)

    def flush(self) -> None:
        if self._left == 0:
            raise self._error

    def fileno(self) -> int:
        raise OSError("no file")


@pytest.mark.parametrize("number", [32, 5, 28])
def test_a_stream_outlives_its_reader_and_remembers_why(number: int) -> None:
    stream = _Refusing(OSError(number, "gone"), after=2)
    safe = SafeStream(stream)
    for text in ("a\n", "№\n", "c\n", "d\n"):
        assert safe.write(text) == len(text)
    safe.flush()
    assert stream.text == "a\n\\u2116\n"
    assert safe.error is not None
    assert safe.error.errno == number


def test_results_that_were_not_written_are_no_success(retrained: Ran) -> None:
    """On a full disk, a truncated list of predictions would look complete."""
    arguments = ["predict", str(retrained.folder.model), str(retrained.cwd / "data")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            carsearch(*arguments), env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode not in (0, 1)
    assert "standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_predictions_end_without_a_reader(retrained: Ran) -> None:
    """`carsearch predict MODEL FOLDER | head -1`."""
    process = subprocess.Popen(
        carsearch("predict", str(retrained.folder.model), str(retrained.cwd / "data")),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=300) == 128 + 13
    assert "Traceback" not in errors


def test_closed_streams_lead_nowhere(place: Path) -> None:
    done = called("check", "tiny.yaml", cwd=place, prefix=("sh", "-c", 'exec "$@" >&- 2>&-', "sh"))
    assert done.returncode == 0


def test_a_whole_search_imports_nothing_from_the_current_folder(finished: Ran, tmp_path: Path) -> None:
    """Ray's workers, the check of weights, fork servers and their children."""
    mine = tmp_path / "mine"
    (mine / "search").mkdir(parents=True)
    shutil.copytree(finished.cwd / "data", tmp_path / "data")
    write_tiny(tmp_path)
    trap = f"open({str(tmp_path)!r} + '/caught', 'a').write(__name__ + ' '); raise SystemExit(3)"
    for name in ("search/__init__", "carcls", "keras", "ray", "numpy", "random", "typing_extensions", "tensorflow"):
        (mine / f"{name}.py").write_text(trap)
    changes = ["data.root=../data", "results=../results"]
    done = called("run", "../tiny.yaml", *(f"--set={change}" for change in changes), cwd=mine)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "caught").exists()
    assert timeless(read_records(StudyFolder(tmp_path / "results" / "tiny"))) == timeless(finished.records)
