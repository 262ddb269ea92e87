"""Untrusted weights: links are not followed, and nothing is read before its shape matches the backbone."""

import os

import h5py
import keras
import numpy as np
import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.errors import WeightsError
from carcls.models.backbones import build_backbone
from carcls.models.weights import load_backbone_weights, resolve_weights
from tests.carcls.system.test_zip_files import npy, overlapping, zipped


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return build_backbone("MobileNet", 0.25, 32)


def _external(file):
    file["conv1"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft(file):
    file["conv1"] = h5py.SoftLink("/elsewhere")


def _stored_elsewhere(file):
    file.create_dataset("conv1/kernel", (864,), "u1", external=[("/etc/passwd", 0, 864)])


def _virtual(file):
    layout = h5py.VirtualLayout((864,), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "x", (864,))
    file.create_virtual_dataset("conv1/kernel", layout)


def _unallocated(file):
    file.create_dataset("conv1/kernel", (950_000_000,), "f8")


def _large_pieces(file):
    file.create_dataset("conv1/kernel", data=np.zeros(10), chunks=(10**6,), maxshape=(None,))


def _compressed(file):
    file.create_dataset("conv1/kernel", data=np.zeros(10**6), compression="gzip")


def _text(file):
    file["conv1/kernel"] = "1.0"


def _objects(file):
    file.create_dataset("conv1/kernel", data=[b"1.0"], dtype=h5py.string_dtype())


def _references(file):
    file["conv1/bias"] = 1.0
    file.create_dataset("conv1/kernel", data=file["conv1/bias"].ref, dtype=h5py.ref_dtype)


def _twice(file):
    file["conv1/kernel"] = np.zeros(9)
    file["conv1/again"] = file["conv1/kernel"]


def _circle(file):
    file.create_group("conv1")["again"] = file


def _nothing(file):
    file["conv1/kernel"] = h5py.Empty("f4")


HOSTILE = {
    _external: "'conv1' is a link",
    _soft: "'conv1' is a link",
    _stored_elsewhere: "'conv1/kernel' is stored in another file",
    _virtual: "'conv1/kernel' is stored in another file",
    _unallocated: "claims 7,600,000,000 bytes but holds 0",
    _large_pieces: "in chunks larger than itself",
    _compressed: "is compressed",
    _text: "not numbers",
    _objects: "not numbers",
    _references: "not numbers",
    _twice: "occurs in the file twice",
    _circle: "occurs in the file twice",
    _nothing: "not numbers",
}


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_only_plain_arrays_are_read(tmp_path, backbone, name, make):
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        make(file)
    with pytest.raises(WeightsError, match=HOSTILE[make]):
        load_backbone_weights(backbone, path)


def test_shapes_are_compared_before_anything_is_read(tmp_path, backbone):
    """10,000 names of one array, which would be 10,000 copies if read before the check."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["conv1/kernel"] = np.zeros((3, 3, 3, 8), np.float32)
        file.attrs["layer_names"] = [b"conv1"]
        file["conv1"].attrs["weight_names"] = [b"kernel"] * 4000
    with pytest.raises(WeightsError, match=r"found kernel of shape .*, expected conv1_bn/gamma"):
        load_backbone_weights(backbone, tmp_path / "w.h5")


@pytest.mark.parametrize("names", [np.zeros(3), [b"x"] * 5000, b"x"])
def test_names_are_names_and_not_too_many(tmp_path, backbone, names):
    with h5py.File(tmp_path / "w.h5", "w", libver="latest") as file:  # the older format cannot hold so many
        file.attrs["layer_names"] = names
    with pytest.raises(WeightsError, match="not a list of at most 4,096 names"):
        load_backbone_weights(backbone, tmp_path / "w.h5")


def test_names_are_not_megabytes_of_text(tmp_path, backbone):
    """4,096 names may all refer to one large text in a file that is hardly larger."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = ["x" * 10**6, *(str(number) for number in range(3000))]
    with pytest.raises(WeightsError, match=r"3,001 names, which may have 1,00\d,\d+ bytes each"):
        load_backbone_weights(backbone, tmp_path / "w.h5")


def _npz(path, backbone, **changed):
    entries = {f"{number:04d}": value for number, value in enumerate(backbone.get_weights())}
    paths = np.array([variable.path for variable in backbone.weights])
    np.savez(path, **{"paths": paths, **entries, **changed})


def test_npz_arrays_are_compared_before_they_are_read(tmp_path, backbone):
    path = zipped(tmp_path / "w.npz", {"paths.npy": npy((10**9,), "<U9", b"")})
    with pytest.raises(WeightsError, match="claims <U9 of shape"):
        load_backbone_weights(backbone, path)
    np.savez(tmp_path / "w.npz", paths=np.full((1,), "x" * 5 * 2**20))
    with pytest.raises(WeightsError, match="not a list of names"):
        load_backbone_weights(backbone, tmp_path / "w.npz")
    with pytest.raises(WeightsError, match="shares its bytes"):
        load_backbone_weights(backbone, overlapping(tmp_path / "w.npz", 400, npy((1000,), "<f8", bytes(8000))))
    _npz(tmp_path / "w.npz", backbone, **{"0000": np.zeros((10**6,), np.float32)})
    with pytest.raises(WeightsError, match=r"found conv1/kernel of shape \(1000000,\)"):
        load_backbone_weights(backbone, tmp_path / "w.npz")
    _npz(tmp_path / "w.npz", backbone)
    load_backbone_weights(backbone, tmp_path / "w.npz")


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.npz"])
def test_a_pipe_does_not_hang(tmp_path, backbone, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(WeightsError, match="not a regular file"):
        load_backbone_weights(backbone, tmp_path / name)
    stage = StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3)
    config = TrainConfig(
        backbone="MobileNet", alpha=0.25, weights=str(tmp_path / name), image_size=32, batch_size=2, stages=(stage,)
    )
    with pytest.raises(WeightsError, match="not a regular file"):
        resolve_weights(config)
