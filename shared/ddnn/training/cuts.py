"""What the cuts of a backbone start from: scales, and bottlenecks that learn from what the uncut backbone makes.

A bottleneck starts as the main components of the features, the way back as their best linear guess; both then learn
through the quantiser, so that the piece above makes of what arrives what it makes of the features themselves.
Legend: N events, M views, C channels, c of a bottleneck.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddnn.data import Dataset
from ddnn.network import DDNN, Still
from ddnn.network.pieces import Expand, OfBackbone, Reduce
from ddnn.network.quantise import Quantiser, Sign
from ddnn.network.views import OfViews
from ddnn.training.config import TrainingConfig
from ddnn.types import Array, Ints, Tier

__all__ = ["fit_cuts", "hold_cuts", "still"]

MOST: Final = 2000
"""Training events that scales and bottlenecks are fitted to, evenly taken."""
ROOM: Final = 1 << 30
"""Most bytes of features that are kept."""
SAMPLE: Final = 100_000  #: places of maps that scales and components are found from
BATCH: Final = 64
NUMBERS: Final = 1 << 21
"""Of views that a frozen piece looks at together: the allocator gives back maps of more, and faults them in anew."""
LEAST: Final = 1e-6  #: spread up to which a channel is constant


def fit_cuts(network: DDNN, data: Dataset, config: TrainingConfig, seed: int) -> None:
    """Fit what is at the cuts to the training events, from the devices upward."""
    rows = np.flatnonzero(data.split == "train")
    devices = [device for device in network.devices if isinstance(device, OfBackbone)]
    if not devices or len(devices) < len(network.devices) or not len(rows):
        return
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.int64)]
    network.eval()
    with torch.random.fork_rng(), _channels_last(network):
        torch.manual_seed(seed)
        events = _seen(network, data, rows)
        devices *= len(events.views) // len(devices)
        above = [network.above_device(index) for index in range(len(devices))]
        place = next(network.parameters()).device
        seen = [
            torch.from_numpy(view[mask]).to(place) for view, mask in zip(events.views, events.present.T, strict=True)
        ]
        _fit(list(map(_Link, devices, above, seen)), network.cut(Tier.DEVICE), config)
        edges = [edge for edge in network.edges if isinstance(edge, OfBackbone) and edge.reduce is not None]
        if edges:
            links = map(_Link, edges, [network.cloud] * len(edges), _joined(network, events))
            _fit(list(links), network.cut(Tier.EDGE), config)


def hold_cuts(network: DDNN) -> None:
    """Let what is at the cuts learn no more, if the backbone does not either: then the exits alone do."""
    if network.plan.config.backbone and network.plan.config.learn == "nothing":
        for module in network.modules():
            if isinstance(module, Reduce | Expand | Quantiser):
                module.requires_grad_(False)


def still(network: DDNN, data: Dataset, config: TrainingConfig) -> tuple[Dataset, Still]:
    """Training and validation events with views that are `Still` already, as far up as nothing changes while it learns.

    The data as they are where the devices' pieces learn, views are changed at random, or it would take too much room.
    """
    pieces = [piece for piece in network.devices if isinstance(piece, OfBackbone) and piece.still]
    changes = config.shift, config.rotate, config.scale, config.warp, config.colour, config.mirror
    learnt = np.flatnonzero(data.split != "test")
    if not pieces or len(pieces) < len(network.devices) or any(changes):
        return data, None
    values = 4 * len(learnt) * data.devices
    uppers = [network.above_device(index) for index in range(data.devices)]
    whole = network.plan.config.learn == "nothing" and all(
        isinstance(each, OfBackbone) and each.pooled for each in uppers
    )
    cloud = network.cloud if isinstance(network.cloud, OfViews) else None
    told = cloud.pool.numbers if cloud and cloud.still else 0
    numbers = pieces[0].pool.numbers + math.prod(uppers[0].shape) + told
    with _channels_last(network):
        if whole and not (cloud and not cloud.still) and values * numbers <= ROOM:
            return _made(network, data, learnt), "above"
        if not cloud and values * math.prod(pieces[0].shape) <= ROOM:
            return _seen(network, data, learnt), "device"
    return data, None


@contextmanager
def _channels_last(network: DDNN) -> Iterator[None]:
    """Keep weights of convolutions with their channels last, and what they give with them: half the time on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


class _Link(NamedTuple):
    """A section, the one above it, and what the lower one's piece makes of the training events."""

    below: OfBackbone
    above: Any  #: a piece of the backbone too, or a section of another kind
    features: Tensor  #: (M, C, …)

    @property
    def reduce(self) -> Reduce:
        assert self.below.reduce is not None
        return self.below.reduce

    def uncut(self, features: Tensor) -> Tensor:
        """Features as the piece above would take them uncut: of children side by side their mean."""
        channels: int = self.above.expand.restored.mean.numel()
        return features.reshape(len(features), -1, channels, *features.shape[2:]).mean(dim=1)


def _fit(links: list[_Link], quantiser: Quantiser, config: TrainingConfig) -> None:
    """Scales and, where there is one, bottleneck of one tier's cut."""
    links = [link for link in links if len(link.features)]
    every = -(-sum(link.features[:, 0].numel() for link in links) // SAMPLE)
    some = [link._replace(features=link.features[::every]) for link in links]
    if not some:
        return
    reduces = [link.reduce for link in links]
    expands: list[Expand] = [
        link.above.expand for link in links if isinstance(link.above, OfBackbone) and link.above.expand
    ]
    values = torch.cat([_places(link.features) for link in some])
    mean, spread = values.mean(dim=0), values.std(dim=0)
    spread = torch.where(spread > LEAST, spread, 1.0)
    for reduce in reduces:
        reduce.standard.fit(mean, spread)
    own = -1, expands[0].restored.mean.numel() if expands else len(mean)
    for expand in expands:  # children side by side arrive as their mean
        expand.restored.fit(mean.reshape(own).mean(dim=0), spread.reshape(own).mean(dim=0))
    if isinstance(quantiser, Sign) and reduces[0].narrow is None:  # a sign stands for the mean of its side
        side = ((values - mean) / spread).abs().mean(dim=0)
        for expand in expands:
            expand.restored.spread.mul_(side.reshape(own).mean(dim=0).reshape(expand.restored.spread.shape))
    if reduces[0].narrow is not None:
        _start(some, reduces, expands, quantiser, (values - mean) / spread)
    learning = reduces[0].narrow is not None or all(link.above.still for link in links if expands)
    if expands and learning and config.cut_epochs:
        _learn(links, quantiser, config)


@torch.no_grad()
def _start(
    links: list[_Link], reduces: list[Reduce], expands: list[Expand], quantiser: Quantiser, values: Tensor
) -> None:
    """Begin bottlenecks with the components of `values` (M, C) and the ways back with guesses."""
    narrow = reduces[0].narrow
    assert narrow is not None
    start = _components(values, narrow.weight.shape[0])
    for reduce in reduces:
        reduce.start(start)
    sent = torch.cat([_places(quantiser(link.reduce(link.features))) for link in links])
    for expand in expands:
        expand.start(*_guess(sent, values.reshape(len(values), -1, expand.restored.mean.numel()).mean(dim=1)))


def _components(values: Tensor, count: int) -> Tensor:
    """A matrix (c, C) of the main components of values (M, C), turned at random: each channel has as much to say."""
    _, vectors = torch.linalg.eigh(values.T @ values / len(values))
    main = vectors[:, -count:]
    turned = main @ torch.linalg.qr(torch.randn(count, main.shape[1]))[0].T.to(main)
    spread: Tensor = (values @ turned).std(dim=0).clamp(min=LEAST)
    weight: Tensor = (turned / spread).T
    return weight


def _guess(sent: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map with the least squares, (M, c) → (M, C): weight (C, c), bias (C,)."""
    one = torch.ones_like(sent[:, :1])
    driver = "gelsd" if sent.device.type == "cpu" else None  # the others take it that no two channels are alike
    found: Tensor = torch.linalg.lstsq(torch.cat([sent, one], dim=1), wanted, driver=driver).solution
    return found[:-1].T, found[-1]


def _learn(links: list[_Link], quantiser: Quantiser, config: TrainingConfig) -> None:
    """Learn through the quantiser what the piece above makes of the features themselves."""
    parts = (module for link in links for module in (link.reduce, link.above.expand, link.above.body))
    modules = [quantiser, *parts]
    weights = {id(weight): weight for module in modules for weight in module.parameters() if weight.requires_grad}
    if not weights:
        return
    with torch.no_grad():
        wanted = [torch.cat([link.above.body(link.uncut(part)) for part in _split(link.features)]) for link in links]
    spreads = [_places(each).std(dim=0).clamp(min=LEAST).reshape(-1, *[1] * (each.dim() - 2)) for each in wanted]
    steps = sum(-(-len(link.features) // BATCH) for link in links) * config.cut_epochs
    optimizer = torch.optim.Adam(weights.values(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(config.cut_epochs):
        for index, rows in _batches([len(link.features) for link in links]):
            found = links[index].above.alone(quantiser(links[index].reduce(links[index].features[rows])))
            loss: Tensor = ((found - wanted[index][rows]) / spreads[index]).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _batches(sizes: Sequence[int]) -> list[tuple[int, Tensor]]:
    """Batches of all links in random order: which link, and rows of it."""
    batches = [(index, rows) for index, size in enumerate(sizes) for rows in _split(torch.randperm(size))]
    return [batches[place] for place in torch.randperm(len(batches)).tolist()]


def _seen(network: DDNN, data: Dataset, rows: Ints) -> Dataset:
    """The events at `rows`, the views of which are what the devices' pieces make of them."""
    return _with(data, rows, [_each(network, data, rows, index, None) for index in range(data.devices)])


def _made(network: DDNN, data: Dataset, rows: Ints) -> Dataset:
    """The events at `rows`, the views of which are what `Still` is above the devices."""
    quantiser = network.cut(Tier.DEVICE)
    return _with(data, rows, [_each(network, data, rows, index, quantiser) for index in range(data.devices)])


@torch.no_grad()
def _each(network: DDNN, data: Dataset, rows: Ints, index: int, quantiser: Quantiser | None) -> Array:
    """What device number `index` makes of its views, or with the quantiser what is made above."""
    device: Any = network.devices[index % len(network.devices)]
    found, place = list[Tensor](), next(network.parameters()).device
    step = max(min(BATCH, NUMBERS // math.prod(data.views[index].shape[1:])), 1)
    for start in range(0, len(rows), step):
        view = np.ascontiguousarray(data.views[index][rows[start : start + step]])
        seen = device.seen(torch.from_numpy(view).to(place))
        if quantiser is not None:
            made = network.above_device(index).alone(quantiser(device.reduce(seen)))
            parts = [device.pool(seen), made.flatten(1)]
            if isinstance(network.cloud, OfViews):
                parts.append(network.cloud.seen(network.cloud.arrived(torch.from_numpy(view).to(place))))
            seen = torch.cat(parts, dim=1)
        found.append(seen.cpu())
    return np.asarray(torch.cat(found).numpy())


def _with(data: Dataset, rows: Ints, views: list[Array]) -> Dataset:
    return replace(replace(data, views=()).take(rows), views=tuple(views))


def _split(x: Tensor) -> Sequence[Tensor]:
    return [x[start : start + BATCH] for start in range(0, len(x), BATCH)]


def _joined(network: DDNN, data: Dataset) -> list[Tensor]:
    """What each edge's piece makes of what arrives of events that some device of it sees: E tensors (N_e, C, …)."""
    found: list[list[Tensor]] = [[] for _ in network.edges]
    edges: list[Any] = [*network.edges]
    place = next(network.parameters()).device
    with torch.no_grad():
        for start in range(0, len(data), BATCH):
            rows = slice(start, start + BATCH)
            present = torch.from_numpy(data.present[rows]).to(place)
            _, cuts = network.below([torch.from_numpy(view[rows]).to(place) for view in data.views], still="device")
            arrived = network.cut(Tier.DEVICE)(cuts)
            for kept, edge, devices in zip(found, edges, network.plan.edges, strict=True):
                there = present[:, list(devices)]
                some = there.any(dim=1)
                kept.append(edge.joined(arrived[some][:, list(devices)], there[some])[0])
    return [torch.cat(kept) for kept in found]


def _places(x: Tensor) -> Tensor:
    """(M, C, …) → values (M · places, C)."""
    return x.flatten(2).transpose(1, 2).flatten(0, 1) if x.dim() > 2 else x
