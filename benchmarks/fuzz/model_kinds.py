"""Files that hold numbers: exported models, weights, checkpoints."""

import io
import json
import zipfile
from pathlib import Path
from random import Random

import h5py
import keras
import numpy as np

from benchmarks.fuzz.kind import Kind, SilentError
from benchmarks.fuzz.mutations import changed_tree, mutated
from carcls.config import StageConfig, TrainConfig
from carcls.inference.export import export_model, load_model
from carcls.models.backbones import build_backbone
from carcls.models.classifier import build_classifier
from carcls.models.weights import load_backbone_weights
from carcls.training.checkpoint import load_state, read_meta, save_state

SIZE = 32
_CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=SIZE,
    batch_size=4,
    precision="float32",
    stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
)
_CONFIG_JSON, _WEIGHTS = "config.json", "model.weights.h5"


def model_kinds(scratch: Path) -> list[Kind]:
    """scratch: a folder for the sound files, which are made first."""
    scratch.mkdir(parents=True, exist_ok=True)
    model = _model(scratch)
    weights = _weights(scratch)
    return [
        Kind("models, bytes", [model], mutated, _load_model, equal=True),
        Kind("models, config.json", [model], _config_changed, _load_any_model),
        Kind("models, weights inside", [model], _weights_changed, _load_any_model),
        Kind("weights, .h5", [weights["w.h5"]], mutated, lambda data, folder: _load_weights(data, folder / "w.h5")),
        Kind(
            "weights, .weights.h5",
            [weights["w.weights.h5"]],
            mutated,
            lambda data, folder: _load_weights(data, folder / "w.weights.h5"),
        ),
        Kind(
            "weights, .npz",
            [weights["w.npz"]],
            mutated,
            lambda data, folder: _load_weights(data, folder / "w.npz"),
            equal=True,
        ),
        Kind("checkpoints", [_checkpoint(scratch)], mutated, _load_checkpoint, equal=True),
    ]


def _model(scratch: Path) -> bytes:
    classifier = build_classifier(_CONFIG, size_px=SIZE, class_count=3, weights=None)
    path = scratch / "model.keras"
    export_model(
        path, classifier, class_names=("a", "b", "c"), config=_CONFIG, size_px=SIZE, tta_views=("plain",), scores={}
    )
    return path.read_bytes()


def _weights(scratch: Path) -> dict[str, bytes]:
    backbone = build_backbone("MobileNet", 0.25, SIZE)
    backbone.save(scratch / "w.h5")
    backbone.save_weights(scratch / "w.weights.h5")
    arrays = {f"{number:04d}": values for number, values in enumerate(backbone.get_weights())}
    np.savez(scratch / "w.npz", paths=np.array([variable.path for variable in backbone.weights]), **arrays)
    return {name: (scratch / name).read_bytes() for name in ("w.h5", "w.weights.h5", "w.npz")}


def _checkpoint(scratch: Path) -> bytes:
    arrays = {f"model/layer{number}/kernel": np.full((8, 8), number, np.float32) for number in range(6)}
    save_state(scratch / "epoch-0001.npz", arrays, {"position": {"epoch": 1}, "config": {"batch_size": 16}})
    return (scratch / "epoch-0001.npz").read_bytes()


def _load_model(content: bytes, folder: Path) -> object:
    path = folder / "m.keras"
    path.write_bytes(content)
    loaded = load_model(path)
    return loaded.card.model_dump_json(), [value.tobytes() for value in loaded.model.get_weights()]


def _load_any_model(content: bytes, folder: Path) -> None:
    """What is loaded maps photos of the card's size to its classes, and has no more weights than its file."""
    path, floatx = folder / "m.keras", keras.config.floatx()
    path.write_bytes(content)
    try:
        loaded = load_model(path)
        loaded.model.predict_on_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    finally:
        if keras.config.floatx() != floatx:
            keras.config.set_floatx(floatx)
            raise SilentError("a model file changed Keras's own settings")
    if loaded.model.count_params() * 4 > len(content):
        raise SilentError("more weights than the file holds")


def _members(whole: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _config_changed(rng: Random, whole: bytes) -> bytes:
    """Well packed, checksums in order, but for its configuration or its card."""
    members = _members(whole)
    name = rng.choice((_CONFIG_JSON, _CONFIG_JSON, _CONFIG_JSON, "carsearch.json"))
    members[name] = json.dumps(changed_tree(rng, json.loads(members[name]))).encode()
    return _packed(members)


def _weights_changed(rng: Random, whole: bytes) -> bytes:
    """The HDF5 file inside damaged byte by byte, or by what HDF5 can do beyond plain arrays."""
    members = _members(whole)
    if rng.random() < 0.5:
        members[_WEIGHTS] = mutated(rng, members[_WEIGHTS])
        return _packed(members)
    buffer = io.BytesIO(members[_WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = rng.choice(names)
        if rng.random() < 0.7:
            del file[name]
        else:
            name += "_more"
        match rng.choice(("external", "soft", "unallocated", "compressed", "text", "elsewhere")):
            case "external":
                file[name] = h5py.ExternalLink("/etc/passwd", "/")
            case "soft":
                file[name] = h5py.SoftLink("/nowhere")
            case "unallocated":
                file.create_dataset(name, (rng.choice((1, 10**3, 10**9)), 3), "f4")
            case "compressed":
                file.create_dataset(name, data=np.zeros(10**5), compression="gzip")
            case "text":
                file[name] = "text"
            case "elsewhere":
                file.create_dataset(name, (9,), "u1", external=[("/etc/passwd", 0, 9)])
    members[_WEIGHTS] = buffer.getvalue()
    return _packed(members)


_BACKBONE: list[keras.Model] = []


def _load_weights(content: bytes, path: Path) -> object:
    """Numbers in an .h5 have no checksum: what fits is taken. In an .npz they have."""
    path.write_bytes(content)
    if not _BACKBONE:
        _BACKBONE.append(build_backbone("MobileNet", 0.25, SIZE))
    load_backbone_weights(_BACKBONE[0], path)
    return [value.tobytes() for value in _BACKBONE[0].get_weights()]


def _load_checkpoint(content: bytes, folder: Path) -> object:
    path = folder / "c.npz"
    path.write_bytes(content)
    meta = read_meta(path)
    arrays, again = load_state(path)
    if meta != again:
        raise SilentError("two readers of one checkpoint disagree")
    return {key: (array.dtype.str, array.tobytes()) for key, array in arrays.items()}, meta
