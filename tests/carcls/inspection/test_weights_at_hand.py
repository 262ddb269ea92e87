import logging
import socket

import numpy as np

from carcls.catalog import BACKBONES
from carcls.inspection.weights_at_hand import WeightsAtHand, weights_in, weights_server_answers

NAME, ALPHA, COUNT = "MobileNet", 0.25, BACKBONES["MobileNet"].weight_counts[BACKBONES["MobileNet"].alphas.index(0.25)]


def test_a_file_is_recognised_by_its_number_of_weights(tmp_path):
    np.savez(tmp_path / "a.npz", **{"0": np.zeros((COUNT - 3,), np.float16), "1": np.zeros((3,), np.float16)})
    np.savez(tmp_path / "b.npz", **{"0": np.zeros((COUNT,), np.float16)})
    np.savez(tmp_path / "other.npz", **{"0": np.zeros((7,), np.float16)})
    assert weights_in([tmp_path]) == (WeightsAtHand(NAME, ALPHA, tmp_path / "a.npz"),), "the first of two copies"


def test_a_damaged_file_is_passed_over_and_named(tmp_path, caplog):
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    with caplog.at_level(logging.WARNING):
        assert weights_in([tmp_path]) == ()
    for name in ("cut.npz", "cut.h5"):
        assert f"{tmp_path / name} is not used as weights: it cannot be read" in caplog.text


def test_behind_a_proxy_the_weights_server_is_not_called(monkeypatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(socket, "create_connection", refused)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert not weights_server_answers()
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert weights_server_answers()
