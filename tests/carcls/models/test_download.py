"""Downloads from a local server that fails in every possible way."""

import hashlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.errors import WeightsError
from carcls.models import download
from carcls.models.backbone_rows import WeightsFile
from carcls.models.download import Progress, cached
from carcls.models.weights import resolve_weights

BODY = bytes(range(256)) * 12_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """An empty models folder of Keras, and no delay between attempts."""
    monkeypatch.setattr(download, "keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(download, "RETRY_DELAYS_S", (0.0, 0.0))
    return tmp_path / "models"


class _Server(ThreadingHTTPServer):
    """Responds to requests with successive `answers`, repeating the last."""

    answers: tuple[str, ...] = ("whole",)
    asked = 0

    def file(self, digest: str | None = MD5) -> WeightsFile:
        return WeightsFile("w.h5", f"http://127.0.0.1:{self.server_port}/w.h5", digest)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        answer = self.server.answers[min(self.server.asked, len(self.server.answers) - 1)]
        self.server.asked += 1
        if answer.isdecimal():
            self.send_error(int(answer))
            return
        self.send_response(200)
        if answer != "without length":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write({"cut": BODY[:100_000], "wrong": BODY[::-1]}.get(answer, BODY))

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("digest", [MD5, SHA256, None])
def test_a_missing_file_is_downloaded_and_reported(server, models, capfd, digest):
    path = cached(server.file(digest))
    assert path == models / "w.h5"
    assert path.read_bytes() == BODY
    assert left_in(models) == ["w.h5"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"w.h5 is not in {models}; downloading {server.file().url}",
        *(f"w.h5: {percent} % of 3 MB" for percent in re.findall(r"(\d+) %", err)),
    ]
    assert err.endswith("100 % of 3 MB\n")
    assert server.asked == 1


@pytest.mark.parametrize("answers", [("503", "whole"), ("429", "whole"), ("cut", "whole"), ("wrong", "503", "whole")])
def test_temporary_failures_are_retried(server, models, capfd, answers):
    server.answers = answers
    assert cached(server.file()).read_bytes() == BODY
    assert server.asked == len(answers)
    assert left_in(models) == ["w.h5"]
    assert capfd.readouterr().err.count("trying again in 0 s") == len(answers) - 1


@pytest.mark.parametrize(
    ("answer", "requests", "reason"),
    [
        ("503", 3, "HTTP Error 503"),
        ("404", 1, "HTTP Error 404"),
        ("cut", 3, "the connection broke after 100,000 of 3,072,000 bytes"),
        ("wrong", 3, f"its md5 is [0-9a-f]+, expected {MD5}"),
    ],
)
def test_permanent_failures_end_in_one_line(server, models, answer, requests, reason):
    server.answers = (answer,)
    file = server.file()
    with pytest.raises(WeightsError) as caught:
        cached(file)
    message = str(caught.value)
    assert re.fullmatch(
        rf"ImageNet weights: w\.h5 is not in {models}, and could not be downloaded \(.*{reason}.*\);"
        rf" download {file.url} elsewhere and put it into {models}, or set `weights` to a path",
        message,
    )
    assert server.asked == requests
    assert left_in(models) == []


def test_without_a_digest_a_cut_body_is_still_noticed(server, models):
    server.answers = ("cut",)
    with pytest.raises(WeightsError, match="the connection broke"):
        cached(server.file(None))
    assert left_in(models) == []


def test_a_body_of_unknown_length_is_verified_by_digest(server, models, capfd):
    server.answers = ("without length",)
    assert cached(server.file()).read_bytes() == BODY
    assert "%" not in capfd.readouterr().err


def test_without_a_network_the_line_names_file_address_and_folder(models):
    closed = WeightsFile("mobilenet.h5", "http://127.0.0.1:9/mobilenet.h5", None)
    with pytest.raises(WeightsError) as caught:
        cached(closed)
    message = str(caught.value)
    assert f"mobilenet.h5 is not in {models}" in message
    assert "download http://127.0.0.1:9/mobilenet.h5 elsewhere" in message
    assert "refused" in message
    assert "\n" not in message
    assert left_in(models) == []


def test_a_cached_file_is_not_downloaded(server, models, capfd):
    models.mkdir()
    (models / "w.h5").write_bytes(BODY)
    assert cached(server.file()) == models / "w.h5"
    (models / "w.h5").write_bytes(b"a file without a known digest")
    assert cached(server.file(None)) == models / "w.h5"
    assert server.asked == 0
    assert capfd.readouterr().err == ""
    assert left_in(models) == ["w.h5"]


def test_a_damaged_file_is_named_and_replaced(server, models, capfd):
    models.mkdir()
    (models / "w.h5").write_bytes(BODY[:-1])
    assert cached(server.file()).read_bytes() == BODY
    assert f"{models / 'w.h5'} is damaged: its md5 is " in capfd.readouterr().err


def test_a_damaged_file_stays_if_the_download_fails(server, models):
    server.answers = ("404",)
    models.mkdir()
    (models / "w.h5").write_bytes(BODY[:-1])
    with pytest.raises(
        WeightsError, match=rf"{models}/w\.h5 is damaged: .*expected {MD5}, and could not be downloaded"
    ):
        cached(server.file())
    assert (models / "w.h5").read_bytes() == BODY[:-1]


def test_an_unwritable_folder_is_reported_at_once(server, models):
    models.write_bytes(b"a file where the folder should be")
    with pytest.raises(WeightsError, match=r"is not in .*could not be downloaded \(.*exists"):
        cached(server.file())
    assert server.asked == 0


def test_several_at_once_download_once(server, models):
    """The lock file separates threads just as it separates processes."""
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: cached(server.file()), range(4)))
    assert server.asked == 1
    assert set(paths) == {models / "w.h5"}


def test_imagenet_means_the_backbones_own_file(models):
    models.mkdir()
    placed = models / "mobilenet_2_5_224_tf_no_top.h5"
    placed.write_bytes(b"x")
    stages = (StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),)
    config = TrainConfig(backbone="MobileNet", alpha=0.25, image_size=32, batch_size=4, stages=stages)
    assert resolve_weights(config) == placed


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_four_lines_in_a_log_and_one_in_a_terminal():
    log, terminal = io.StringIO(), _Terminal()
    for stream in (log, terminal):
        with Progress("w.h5", 8_000_000, stream) as progress:
            for received in range(0, 8_000_001, 10_000):
                progress.show(received)
    assert log.getvalue().splitlines() == [f"w.h5: {percent} % of 8 MB" for percent in (25, 50, 75, 100)]
    shown = terminal.getvalue()
    assert shown.startswith("\rw.h5: 1 % of 8 MB\rw.h5: 2 % of 8 MB")
    assert shown.endswith("\rw.h5: 100 % of 8 MB\n")
    assert shown.count("\r") == 100


def test_progress_of_unknown_size_is_silent():
    log = io.StringIO()
    with Progress("w.h5", 0, log) as progress:
        progress.show(5_000)
    assert log.getvalue() == ""
