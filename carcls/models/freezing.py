"""Freezes and unfreezes whole blocks of a backbone by an unfreeze fraction, and handles BatchNorm.

Blocks are found in the graph: a block ends only at a layer that every path from input to output passes through, so no
residual branch is split between frozen and trainable. If cells take the outputs of several earlier cells (NASNet), a
block ends only where nothing but outputs of whole cells is passed on. The blocks of a backbone of KerasHub are layers
within its layers.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras

from carcls.models.backbone_rows import ROWS
from carcls.models.hub import freeze_unused, hub_blocks
from carcls.models.hub_rows import HUB_ROWS

if TYPE_CHECKING:
    from carcls.models.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Block:
    """Layers that freeze and unfreeze together."""

    name: str
    """The block's last layer or operation, whose output is the only tensor that leaves the block."""
    layers: tuple[str, ...]
    """Names of layers and operations, input to output."""


_NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
)


def blocks(backbone_name: str, backbone: keras.Model) -> tuple[Block, ...]:
    """The backbone's blocks from input to output. Every layer and operation is in exactly one, or for KerasHub every
    weight.

    A block ends at a layer that matches the row's pattern and is a cut of the graph (or the end of a cell, if the row
    says so), and always at the output layer. A layer belongs to the first end that depends on it. A block without
    weights, or only with those of normalisation, is merged into the previous block, since it has little to train.
    """
    if backbone_name in HUB_ROWS:
        return tuple(Block(list(one.layers)[-1], tuple(one.layers)) for one in hub_blocks(backbone_name, backbone))
    row = ROWS[backbone_name]
    parents = layer_parents(backbone)
    pattern = re.compile(row.block_ends)
    output = backbone.output._keras_history.operation.name
    candidates = [name for name in parents if name == output or pattern.fullmatch(name)]
    ends = cell_ends(parents, candidates) if row.cells else only_cuts(parents, candidates, output)
    weighted = {layer.name for layer in backbone.layers if layer.weights and not isinstance(layer, _NORMALISATIONS)}
    return merge_weightless(_split(parents, ends), weighted)


def freezable_layers(backbone_name: str, backbone: keras.Model) -> dict[str, keras.Layer]:
    """Layers by the names in `blocks`: each freezes as a whole, and together they have all weights."""
    if backbone_name in HUB_ROWS:
        return {name: layer for block in hub_blocks(backbone_name, backbone) for name, layer in block.layers.items()}
    return {layer.name: layer for layer in backbone.layers}


def trainable_blocks(fraction: float, count: int) -> int:
    """Number of blocks to train, counted from the top: `fraction * count` rounded, but at least 1 unless fraction is 0.

    Monotone in `fraction`: 0 -> 0 and 1 -> `count`. Raises ValueError for a fraction outside 0..1.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"unfreeze fraction {fraction} is outside 0..1")
    if fraction == 0.0:
        return 0
    return min(count, max(1, math.floor(fraction * count + 0.5)))


def set_trainable(classifier: "Classifier", fraction: float, *, batch_norm: bool) -> None:
    """Makes the top `fraction` of the backbone's blocks, and always the head, trainable. Compile afterwards.

    With `batch_norm` False, every BatchNormalization of the backbone stays frozen and runs in inference mode. That is
    right for pretrained weights, since statistics of small batches would ruin them at the high rates of early stages.
    With True it trains with its block, as random weights need.
    """
    backbone = classifier.backbone
    parts = blocks(classifier.backbone_name, backbone)
    frozen_count = len(parts) - trainable_blocks(fraction, len(parts))
    frozen = {name for block in parts[:frozen_count] for name in block.layers}
    classifier.model.trainable = True  # applies to every layer, so the flags below start from a known state
    for name, layer in freezable_layers(classifier.backbone_name, backbone).items():
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = name not in frozen and (batch_norm or not is_norm)
    if classifier.backbone_name in HUB_ROWS:
        freeze_unused(classifier.backbone_name, backbone)


def set_statistics_momentum(backbone: keras.Model, momentum: float) -> None:
    """Sets the momentum of every BatchNormalization of the backbone, before anything is traced."""
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def depths_below_head(classifier: "Classifier") -> dict[int, int]:
    """id of each variable of the backbone -> number of its block, counted from 1 at the top."""
    name, backbone = classifier.backbone_name, classifier.backbone
    below = {
        layer: depth for depth, block in enumerate(reversed(blocks(name, backbone)), start=1) for layer in block.layers
    }
    layers = freezable_layers(name, backbone).items()
    return {id(variable): below[layer_name] for layer_name, layer in layers for variable in layer.variables}


def layer_parents(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """Operation name -> names of its inputs, in topological order."""
    # Keras has no public API for a functional graph's edges. Ignores nodes of other graphs that share a layer.
    own = {id(node) for depth in model._nodes_by_depth.values() for node in depth}
    edges: dict[str, tuple[str, ...]] = {}
    for operation in model.operations:
        nodes = [node for node in operation._inbound_nodes if id(node) in own]
        edges[operation.name] = tuple(parent.operation.name for node in nodes for parent in node.parent_nodes)
    return edges


def cuts(parents: Mapping[str, Sequence[str]], output: str) -> list[str]:
    """Vertices that every path from the inputs to `output` passes through, in topological order.

    `parents` must be in topological order. A vertex is a cut if (paths to it) x (paths from it) is the number of all
    paths. Python's integers keep the counts exact.
    """
    paths_to: dict[str, int] = {}
    for name, feeding in parents.items():
        paths_to[name] = sum(paths_to[parent] for parent in feeding) if feeding else 1
    # The same backwards: each vertex passes its number of paths on to its inputs.
    paths_from = dict.fromkeys(parents, 0)
    paths_from[output] = 1
    for name in reversed(list(parents)):
        for parent in parents[name]:
            paths_from[parent] += paths_from[name]
    return [name for name in parents if paths_to[name] * paths_from[name] == paths_to[output]]


def only_cuts(parents: Mapping[str, Sequence[str]], candidates: Sequence[str], output: str) -> list[str]:
    """The `candidates` that are cuts of the graph."""
    allowed = set(cuts(parents, output))
    return [name for name in candidates if name in allowed]


def cell_ends(parents: Mapping[str, Sequence[str]], candidates: Sequence[str]) -> list[str]:
    """The `candidates` at which whole cells end; both arguments in topological order.

    A candidate is an end if, among itself and its ancestors, only it and earlier ends feed any later vertex. Outputs of
    several cells may thus cross a boundary, but never a tensor from inside a cell.
    """
    ends: list[str] = []
    for candidate in candidates:
        inside = _ancestors(parents, candidate)
        leaving = {
            parent for name, feeding in parents.items() if name not in inside for parent in feeding if parent in inside
        }
        if leaving <= {candidate, *ends}:
            ends.append(candidate)
    return ends


def _ancestors(parents: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """`name` and everything on which it depends."""
    found = {name}
    stack = [name]
    while stack:
        new = set(parents[stack.pop()]) - found
        found |= new
        stack.extend(new)
    return found


def _split(parents: Mapping[str, Sequence[str]], ends: Sequence[str]) -> list[Block]:
    """Assigns each vertex to the first of `ends` that depends on it. `ends` go from input to output, which is last."""
    owner: dict[str, str] = {}
    for end in ends:
        stack = [end]
        while stack:
            name = stack.pop()
            if name not in owner:
                owner[name] = end
                stack.extend(parents[name])
    return [Block(end, tuple(name for name in parents if owner.get(name) == end)) for end in ends]


def merge_weightless(parts: Sequence[Block], weighted: set[str]) -> tuple[Block, ...]:
    """Merges blocks without a layer of `weighted` into the previous block, or at the start into the next."""
    merged: list[Block] = []
    pending: tuple[str, ...] = ()
    for block in parts:
        if not weighted.isdisjoint(block.layers):
            merged.append(Block(block.name, pending + block.layers))
            pending = ()
        elif merged:
            merged[-1] = Block(block.name, merged[-1].layers + block.layers)
        else:
            pending += block.layers
    return tuple(merged)
