"""Allowed values in a model's configuration: choices from short lists, and numbers within bounds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MAX_NAME_LETTERS = 200
_MAX_WIDTH = 2**16
"""Maximum width of a layer: filters, units, channels."""
_MAX_SIDE = 64
"""Maximum size of a kernel, a stride or a margin."""
_MAX_PHOTO_SIDE = 2048
"""Maximum side of photos for a backbone of KerasHub, which may hold a weight for each position."""
_MAX_NUMBERS = 10_000
"""Maximum size of a constant inside the graph."""

_TYPES = ("float32", "float16", "bfloat16")
CHOICES: dict[str, tuple[str, ...]] = {
    "activation": ("linear", "relu", "silu", "sigmoid", "hard_silu", "hard_sigmoid", "gelu"),
    "padding": ("same", "valid"),
    "data_format": ("channels_last",),
    "mode": ("fan_in", "fan_out", "fan_avg"),
    "distribution": ("uniform", "normal", "truncated_normal", "untruncated_normal"),
    "interpolation": ("bilinear",),
    "fill_mode": ("constant",),
    "dtype": (*_TYPES, "uint8"),
    "policy": (*_TYPES, "mixed_float16", "mixed_bfloat16"),
}


class ForeignConfigError(ValueError):
    """A part of a configuration is rejected; the message says which and why."""


class MissingLibraryError(ForeignConfigError):
    """A configuration is fine, but this machine lacks a library that it needs; the message says which."""


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """The value as a mapping. Raises ForeignConfigError for other types, as all checks below do."""
    if not isinstance(value, dict):
        raise ForeignConfigError(f"{where}: expected a mapping, found {shown(value)}")
    return value


def sequence(value: object, where: str) -> Sequence[Any]:
    """The value as a list. Raises ForeignConfigError for other types."""
    if not isinstance(value, list):
        raise ForeignConfigError(f"{where}: expected a list, found {shown(value)}")
    return value


def shown(value: object) -> str:
    """The start of a value, for messages."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _fail(value: object, where: str, expected: str) -> None:
    raise ForeignConfigError(f"{where}: {shown(value)}; expected {expected}")


def check_name(value: object, where: str) -> None:
    """Checks a layer's name."""
    if not (isinstance(value, str) and 0 < len(value) <= _MAX_NAME_LETTERS):
        _fail(value, where, f"a name of at most {_MAX_NAME_LETTERS} letters")


def check_choice(value: object, key: str, where: str) -> None:
    """Checks that the value is one of the choices for this key."""
    if key not in CHOICES:
        raise ForeignConfigError(f"{where}: is not a supported setting of a layer")
    if value not in CHOICES[key]:
        _fail(value, where, f"one of {', '.join(CHOICES[key])}")


def _flag(value: object, where: str) -> None:
    if not isinstance(value, bool):
        _fail(value, where, "true or false")


def check_null(value: object, where: str) -> None:
    """Checks for null."""
    if value is not None:
        _fail(value, where, "null")


def check_number(value: object, where: str) -> None:
    """Checks for null, a boolean, or a finite number within the range of float32."""
    if value is None or isinstance(value, bool):
        return
    if not (isinstance(value, int | float) and abs(value) < 1e30):  # false for NaN too
        _fail(value, where, "a number")


def _integer(value: object, low: int, high: int, where: str) -> None:
    if not (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
        _fail(value, where, f"an integer from {low} to {high:,}")


def _width(value: object, where: str) -> None:
    _integer(value, 1, _MAX_WIDTH, where)


def _axes(value: object, where: str) -> None:
    for axis in value if isinstance(value, list) else [value]:
        if axis is not None:
            _integer(axis, -4, 4, where)


def check_sides(value: object, where: str) -> None:
    """Checks kernel sizes, strides and margins: one number, one per axis, or two per axis."""
    for side in _flat(value, where):
        _integer(side, 0, _MAX_SIDE, where)


def check_numbers(value: object, where: str) -> None:
    """Checks a small array of nested lists."""
    for number in _flat(value, where):
        check_number(number, where)


def _flat(value: object, where: str) -> list[object]:
    flat: list[object] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        else:
            flat.append(one)
        if len(flat) + len(waiting) > _MAX_NUMBERS:
            raise ForeignConfigError(f"{where}: more than {_MAX_NUMBERS:,} numbers")
    return flat


def check_shape(value: object, where: str) -> None:
    """Checks a shape of up to four axes; null or -1 for an unknown side."""
    if value is None:
        return
    sides = sequence(value, where)
    if len(sides) > 4:
        _fail(value, where, "a shape of at most four axes")
    for side in sides:
        if side is not None:
            _integer(side, -1, _MAX_WIDTH, where)


def check_photo_shape(value: object, where: str) -> None:
    """Checks the shape of a photo that a backbone is built for: [height, width, 3]."""
    sides = sequence(value, where)
    if len(sides) != 3 or sides[2] != 3:
        _fail(value, where, "[height, width, 3]")
    for side in sides[:2]:
        _integer(side, 1, _MAX_PHOTO_SIDE, where)


def _places(value: object, where: str) -> None:
    """Checks a model's inputs or outputs: `["name", 0, 0]`, or a list of these."""
    for one in _flat(value, where):
        if one != 0 or isinstance(one, bool):
            check_name(one, where)


SETTINGS: dict[str, Callable[[object, str], None]] = {
    "name": check_name,
    **dict.fromkeys(("input_layers", "output_layers"), _places),
    **dict.fromkeys(("batch_shape", "build_input_shape", "target_shape", "noise_shape"), check_shape),
    **dict.fromkeys(
        ("trainable", "sparse", "ragged", "optional", "center", "use_bias", "synchronized", "renorm"), _flag
    ),
    **dict.fromkeys(("rms_scaling", "invert", "keepdims", "antialias"), _flag),
    **dict.fromkeys(("crop_to_aspect_ratio", "pad_to_aspect_ratio"), _flag),
    **dict.fromkeys(("filters", "units", "groups", "depth_multiplier", "projection_dim", "height", "width"), _width),
    **dict.fromkeys(("kernel_size", "strides", "dilation_rate", "pool_size", "cropping"), check_sides),
    **dict.fromkeys(("axis", "input_axes", "output_axes"), _axes),
    **dict.fromkeys(
        ("momentum", "epsilon", "renorm_momentum", "rate", "seed", "max_value", "negative_slope"), check_number
    ),
    **dict.fromkeys(("threshold", "offset", "scale", "init_values", "l2", "fill_value"), check_number),
    **dict.fromkeys(("mean", "variance"), check_numbers),
    **dict.fromkeys(("renorm_clipping", "quantization_config"), check_null),
}
"""Setting of a layer -> its check. Keras itself rejects settings that a layer does not have."""
