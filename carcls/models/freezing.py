"""Unfreeze fraction -> trainable flags on whole blocks, and what happens to BatchNorm.

Blocks are found in the graph, not counted: a block ends only at a layer through which every path from input to output
passes, so no residual branch can be split between frozen and trainable. Where cells take the outputs of several cells
before them (NASNet), a block ends only where nothing but outputs of whole cells goes on.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras

from carcls.models.backbone_rows import ROWS

if TYPE_CHECKING:
    from carcls.models.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Block:
    """Layers that freeze and unfreeze together."""

    name: str
    """The block's last layer or operation: the single tensor that leaves the block is its output."""
    layers: tuple[str, ...]
    """Names of layers and operations, input to output."""


_NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
)


def blocks(backbone_name: str, backbone: keras.Model) -> tuple[Block, ...]:
    """The backbone's blocks, input to output; together they hold every layer and operation once.

    A block's end matches the row's pattern and is a cut of the graph, or the end of a cell where the row says so; the
    output layer is always one. A layer belongs to the first end that depends on it. A stretch without weights, or with
    those of normalisation only, joins the block before it: alone it would be little or nothing to train.
    """
    row = ROWS[backbone_name]
    parents = layer_parents(backbone)
    pattern = re.compile(row.block_ends)
    output = backbone.output._keras_history.operation.name
    candidates = [name for name in parents if name == output or pattern.fullmatch(name)]
    ends = cell_ends(parents, candidates) if row.cells else only_cuts(parents, candidates, output)
    weighted = {layer.name for layer in backbone.layers if layer.weights and not isinstance(layer, _NORMALISATIONS)}
    return merge_weightless(_split(parents, ends), weighted)


def trainable_blocks(fraction: float, count: int) -> int:
    """How many of `count` blocks train, from the top: the nearest number, but at least one above fraction 0.

    Monotone in `fraction`: 0 -> 0 and 1 -> `count`. Raises ValueError for a fraction outside 0..1.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"unfreeze fraction {fraction} is outside 0..1")
    if fraction == 0.0:
        return 0
    return min(count, max(1, math.floor(fraction * count + 0.5)))


def set_trainable(classifier: "Classifier", fraction: float, *, batch_norm: bool) -> None:
    """Make the top `fraction` of the backbone's blocks trainable; the head always is. Compile afterwards.

    With `batch_norm` False, every BatchNormalization of the backbone stays frozen: in inference mode, its statistics
    and scale untouched. That is right wherever the weights were trained before; statistics of small batches destroy
    them. Pass True for random weights: then the layer trains where its block does.
    """
    backbone = classifier.backbone
    parts = blocks(classifier.backbone_name, backbone)
    frozen_count = len(parts) - trainable_blocks(fraction, len(parts))
    frozen = {name for block in parts[:frozen_count] for name in block.layers}
    classifier.model.trainable = True  # reaches every layer, so the flags below start from a known state
    for layer in backbone.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name not in frozen and (batch_norm or not is_norm)


def count_trainable(model: keras.Model) -> int:
    """Number of scalars that training changes through gradients."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def layer_parents(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """Name of each operation -> names of those that feed it, in topological order."""
    # Keras has no public view of a functional graph's edges. Nodes of other graphs with the same layer are left out.
    own = {id(node) for depth in model._nodes_by_depth.values() for node in depth}
    edges: dict[str, tuple[str, ...]] = {}
    for operation in model.operations:
        nodes = [node for node in operation._inbound_nodes if id(node) in own]
        edges[operation.name] = tuple(parent.operation.name for node in nodes for parent in node.parent_nodes)
    return edges


def cuts(parents: Mapping[str, Sequence[str]], output: str) -> list[str]:
    """Vertices through which every path from the inputs to `output` passes, in topological order.

    `parents` must be in topological order. A vertex is a cut where (paths to it) x (paths from it) is the number of all
    paths; Python's integers keep the count exact however many there are.
    """
    paths_to: dict[str, int] = {}
    for name, feeding in parents.items():
        paths_to[name] = sum(paths_to[parent] for parent in feeding) if feeding else 1
    paths_from = dict.fromkeys(parents, 0)
    paths_from[output] = 1
    for name in reversed(list(parents)):
        for parent in parents[name]:
            paths_from[parent] += paths_from[name]
    return [name for name in parents if paths_to[name] * paths_from[name] == paths_to[output]]


def only_cuts(parents: Mapping[str, Sequence[str]], candidates: Sequence[str], output: str) -> list[str]:
    """Those of `candidates` that are cuts of the graph."""
    allowed = set(cuts(parents, output))
    return [name for name in candidates if name in allowed]


def cell_ends(parents: Mapping[str, Sequence[str]], candidates: Sequence[str]) -> list[str]:
    """Those of `candidates` at which whole cells end; both arguments in topological order.

    A candidate counts if of all that it depends on, itself included, only it and earlier ends feed anything further on.
    So a boundary may be crossed by outputs of several cells, but never by a tensor from within one.
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
    """Each vertex goes to the first of `ends` that depends on it; `ends`: input to output, the output last."""
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
    """Blocks without a layer of `weighted` join the one before; at the start, the one after."""
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
