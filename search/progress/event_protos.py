"""Scalars and rows of the HParams table as TensorBoard's protos. Pure."""

import json
from collections.abc import Container, Mapping

from tensorboard.compat.proto import summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.scalar.metadata import create_summary_metadata


def scalar_summary(scalars: Mapping[str, float], *, described: Container[str]) -> summary_pb2.Summary:
    """Scalars as tensors, as TensorFlow 2 writes them. TensorBoard would convert each `simple_value` while it loads,
    which takes longer than all else. The metadata come with the first value of a tag in a file.

    described: tags whose metadata the file holds already.
    """
    return summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(
                tag=tag,
                metadata=None if tag in described else _scalar_metadata(),
                tensor=tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape={}, float_val=[value]),
            )
            for tag, value in scalars.items()
        ]
    )


def _scalar_metadata() -> summary_pb2.SummaryMetadata:
    """Without a display name, TensorBoard shows the tag."""
    return create_summary_metadata(display_name="", description="")


def hparams_summary(tag: str, **content: object) -> summary_pb2.Summary:
    """The HParams plugin only reads the metadata; the required value is the plugin's own null tensor.

    No experiment summary is written, because it would have to list every parameter beforehand. Without one the plugin
    collects the columns from all trials, including conditional parameters.
    """
    data = plugin_data_pb2.HParamsPluginData(**content)
    value = summary_pb2.Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return summary_pb2.Summary(value=[value])


def set_hparam(target: object, value: object) -> None:
    """Sets the protobuf `Value`: bool before number, because True is an int; other types as JSON text."""
    plain: bool | float | str
    match value:
        case bool():
            field, plain = "bool_value", value
        case int() | float():
            field, plain = "number_value", value
        case str():
            field, plain = "string_value", value
        case _:
            field, plain = "string_value", json.dumps(value, default=str)
    setattr(target, field, plain)
