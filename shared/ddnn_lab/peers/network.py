"""The uncut network that peers serve, how much it computes, and the digits that choose it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from ddnn.bundle import MANIFEST_FILE, Bundle
from ddnn.configs import config_file
from ddnn.data import Dataset, load
from ddnn.evaluation import decide, record
from ddnn.types import Tier

__all__ = ["FILTERS", "WITHIN", "Digits", "Width", "choose", "macs", "make", "model_of", "read_digits"]

_WEIGHTED: Final = {"Conv": 1, "Gemm": 1, "MatMul": 1}  #: which input holds the weights


def macs(model: Path) -> int:
    """Multiplications with weights, one event, in convolutions and dense layers."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [place.dim_value for place in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        weight = weights.get(node.input[_WEIGHTED[node.op_type]]) if node.op_type in _WEIGHTED else None
        if weight is not None:
            places = math.prod(shapes[node.output[0]][2:]) if node.op_type == "Conv" else 1
            total += places * math.prod(weight)
    return total


FILTERS: Final = ((24, 24, 32), (48, 48, 64), (72, 72, 96), (96, 96, 128), (144, 144, 192))
"""Of all six views together in the first two blocks, then of the block over all of them; the smallest first."""
WITHIN: Final = 0.002  #: how far below the fleet's accuracy another may be and still count as equal
_SEED: Final = 0


@dataclass(frozen=True)
class Width:
    """One width of the uncut network."""

    filters: tuple[int, ...]
    accuracy: float  #: on the events that choose, 0 to 1
    macs: int  #: multiplications of one event

    @property
    def name(self) -> str:
        """Of its folder."""
        return "-".join(map(str, self.filters))


def choose(widths: Sequence[Width], floor: float) -> Width | None:
    """The one with the fewest multiplications whose accuracy is `floor` or more."""
    good = [width for width in widths if width.accuracy >= floor]
    return min(good, key=lambda width: width.macs, default=None)


def make(folder: Path, data: Dataset, choosing: Dataset, floor: float, say: Callable[[str], object]) -> list[Width]:
    """Train widths into `folder`, the smallest first, until one is good enough on `choosing`; return those tried.

    What is there already is not trained again.
    """
    tried: list[Width] = []
    for filters in FILTERS:
        bundle = folder / Width(filters, 0.0, 0).name
        if not (bundle / MANIFEST_FILE).is_file():
            say(f"training the uncut network with filters {filters}")
            _train(bundle, filters, data)
        made = Bundle.open(bundle)
        accuracy = decide(record(made, choosing), made.policy).accuracy(choosing.y)
        tried.append(Width(filters, accuracy, macs(model_of(bundle))))
        say(f"filters {filters}: {accuracy:.2%} right, {floor:.2%} wanted")
        if choose(tried, floor):
            break
    return tried


def model_of(bundle: Path) -> Path:
    """Its only section."""
    return Bundle.open(bundle).sections(Tier.CLOUD)["section"]


def _train(bundle: Path, filters: tuple[int, ...], data: Dataset) -> None:
    from ddnn.pipeline import finish_bundle
    from ddnn.training import Config, Run, train

    recipe = Config.read(config_file("mnist5k")).model_dump(mode="json")
    recipe["network"] |= {"device_section": False, "edge_section": False}
    # To each view what a device section would do, then a block over all; they halve until 512 values are left.
    recipe["network"]["cloud"] |= {"flat": False, "apart": 2, "tail": False, "filters": filters}
    recipe["training"]["device_dropout"] = 0.0  # it gets all views or none
    config = Config.of(recipe)
    run = Run.beside(bundle)
    with run.alone():
        network = train(config, data, seed=_SEED, run=run, resume=run.unfinished)
        # The last epoch's averaged weights: the score that picks epochs counts lost devices too, which this one need
        # not bear, and would keep one of the first epochs.
        last = {name.removeprefix("average."): tensor for name, tensor in run.load().tensors.items()}
        network.load_state_dict({name: last[name] for name in network.state_dict()})
        finish_bundle(network, data, bundle, config=config, seed=_SEED, force=True, golden_events=32, tested=False)


_CHOOSING: Final = 20_000


@dataclass(frozen=True)
class Digits:
    """Of the file, cut into the same views."""

    choosing: Dataset  #: training digits that mnist5k has not
    test: Dataset


def read_digits(file: Path, known: Dataset) -> Digits:
    """The digits of `file` without those `known`, by their pixels."""
    mnist = load(str(file), grid="3x2")
    rest = mnist.take(np.flatnonzero(mnist.split != "test"))
    seen = set(_pixels(known))
    fresh = [row for row, pixels in enumerate(_pixels(rest)) if pixels not in seen]
    return Digits(rest.take(fresh[:_CHOOSING]), mnist.subset("test"))


def _pixels(data: Dataset) -> list[bytes]:
    return [b"".join(view[row].tobytes() for view in data.views) for row in range(len(data))]
