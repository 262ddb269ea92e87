import json
import zipfile

import keras
import numpy as np
import pytest

from carcls.errors import CheckpointError
from carcls.training.checkpoint import (
    load_state,
    model_variables,
    optimizer_variables,
    read_meta,
    restore_variables,
    save_state,
    variable_arrays,
)

ARRAYS = {
    "model/conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "model/mean": np.full((), 0.5),
    "file": np.array([2**40], np.int64),
}
META = {"epoch": 3, "best": None, "losses": [0.1, 1 / 3]}


def small_model() -> keras.Model:
    below = keras.Input((3,))
    low = keras.layers.Dense(4, name="low")(below)
    inner = keras.Model(below, keras.layers.Dropout(0.5, seed=1)(low))
    x = inner(image := keras.Input((3,)))
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, seed=2)(x)
    return keras.Model(image, keras.layers.Dense(2, name="top")(x))


def test_arrays_and_values_come_back_bit_for_bit(tmp_path):
    save_state(tmp_path / "new" / "epoch-0001.npz", ARRAYS, META)
    arrays, meta = load_state(tmp_path / "new" / "epoch-0001.npz")
    assert meta == META
    assert arrays.keys() == ARRAYS.keys()
    for key, expected in ARRAYS.items():
        assert arrays[key].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[key], expected)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["epoch-0001.npz"]


def test_a_failed_write_leaves_only_the_old_checkpoint(tmp_path):
    path = tmp_path / "epoch-0001.npz"
    save_state(path, ARRAYS, META)
    with pytest.raises(TypeError):
        save_state(path, ARRAYS, {"value": object()})
    with pytest.raises(ValueError, match="allow_pickle"):
        save_state(path, {"model/x": np.array([object()])}, META)
    assert load_state(path)[1] == META
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_cut_anywhere_is_refused(tmp_path):
    whole, torn = tmp_path / "whole.npz", tmp_path / "torn.npz"
    save_state(whole, ARRAYS, META)
    content = whole.read_bytes()
    for length in {0, 1, 30, *range(0, len(content), 37), len(content) - 1}:
        torn.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"torn\.npz: not a complete checkpoint"):
            load_state(torn)


def test_values_are_read_only_from_an_intact_file(tmp_path):
    whole, torn = tmp_path / "whole.npz", tmp_path / "torn.npz"
    save_state(whole, ARRAYS, META)
    assert read_meta(whole) == META
    content = whole.read_bytes()
    for eighth in range(8):
        torn.write_bytes(content[: len(content) * eighth // 8])
        with pytest.raises(CheckpointError, match=r"torn\.npz: not a complete checkpoint"):
            read_meta(torn)
    flipped = bytearray(content)
    flipped[content.index(ARRAYS["model/conv/kernel"].tobytes()) + 10] ^= 1
    torn.write_bytes(flipped)
    with pytest.raises(CheckpointError, match="CRC"):
        read_meta(torn)
    with zipfile.ZipFile(torn, "w") as archive:
        archive.writestr("meta.json", "[1]")
    with pytest.raises(CheckpointError, match="is not a mapping"):
        read_meta(torn)


def test_a_flipped_byte_in_an_array_is_refused(tmp_path):
    path = tmp_path / "epoch-0001.npz"
    save_state(path, ARRAYS, META)
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["model/conv/kernel"].tobytes()) + 10] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="CRC"):
        load_state(path)


def test_missing_pickled_and_compressed_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_state(tmp_path / "epoch-0001.npz")
    np.savez(tmp_path / "pickled.npz", x=np.array([{"a": 1}]), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "pickled.npz", "a") as archive:
        archive.writestr("meta.json", json.dumps(META))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        load_state(tmp_path / "pickled.npz")
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(10**6))
    with pytest.raises(CheckpointError, match="compressed"):
        load_state(tmp_path / "bomb.npz")


def test_a_model_is_saved_whole_with_the_states_of_nested_seed_generators():
    model = small_model()
    named = model_variables(model)
    assert [key for key in named if key.startswith("seed/")] == ["seed/0000", "seed/0001"]
    assert {"model/low/kernel", "model/norm/moving_mean", "model/top/bias"} <= named.keys()
    assert len(named) == len(model.variables) == 2 + 4 + 2 + 2


def test_a_saved_model_and_optimizer_continue_identically(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.eye(2, dtype=np.float32)[[0, 1] * 4]

    def step(model, saved=None):
        model.compile(keras.optimizers.Adam(0.1), "mse")
        model.optimizer.build(model.trainable_variables)
        variables = model_variables(model) | optimizer_variables(model.optimizer)
        if saved is not None:
            restore_variables(variables, saved)
        model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
        return variables

    first = small_model()
    save_state(tmp_path / "a.npz", variable_arrays(step(first)), {})
    first.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    resumed = small_model()
    step(resumed, load_state(tmp_path / "a.npz")[0])
    for one, other in zip(first.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_a_partial_restore_names_each_variable_and_changes_nothing():
    model = small_model()
    named = model_variables(model)
    before = variable_arrays(named)
    arrays = {key: value + 1 for key, value in before.items()}
    del arrays["model/norm/moving_mean"]
    arrays["model/extra/kernel"] = np.zeros(3)
    arrays["model/top/kernel"] = np.zeros((4, 9))
    with pytest.raises(CheckpointError) as caught:
        restore_variables(named, arrays)
    assert str(caught.value).splitlines()[1:] == [
        "  missing from the checkpoint: model/norm/moving_mean",
        "  model/top/kernel: shape (4, 9), expected (4, 2)",
        "  unknown to the model: model/extra/kernel",
    ]
    for key, value in variable_arrays(named).items():
        np.testing.assert_array_equal(value, before[key])


def test_two_layers_of_one_name_are_refused():
    def inner(name):
        below = keras.Input((3,))
        return keras.Model(below, keras.layers.Dense(3, name="same")(below), name=name)

    image = keras.Input((3,))
    with pytest.raises(CheckpointError, match="two variables of the model are called 'same/kernel'"):
        model_variables(keras.Model(image, inner("b")(inner("a")(image))))


def test_bfloat16_survives_as_float32():
    variable = keras.Variable([1.5, -2.0], dtype="bfloat16", name="half")
    arrays = variable_arrays({"model/half": variable})
    assert arrays["model/half"].dtype == np.float32
    variable.assign([0.0, 0.0])
    restore_variables({"model/half": variable}, arrays)
    np.testing.assert_array_equal(variable_arrays({"model/half": variable})["model/half"], [1.5, -2.0])


def test_no_bit_of_a_checkpoints_list_of_entries_hides_one(tmp_path):
    path = tmp_path / "epoch-0001.npz"
    save_state(path, ARRAYS, META)
    content = path.read_bytes()
    first = content.index(b"PK\x01\x02")
    hidden, refused = [], 0
    for place in range(first, len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                arrays, meta = load_state(path)
            except CheckpointError:
                refused += 1
            else:
                if arrays.keys() != ARRAYS.keys() or meta != META:
                    hidden.append((place, bit))
    assert hidden == []
    assert refused > (len(content) - first) * 4, "the rest are times and attributes"
