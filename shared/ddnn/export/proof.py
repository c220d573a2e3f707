"""The proof that ONNX Runtime says what torch says, section by section, each on torch's own inputs.

Scores may differ by 1e-4, a feature where its value is within 1e-4 of the next level, and all where the sign of a
value inside a binary block is a tie.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.bundle import PICTURE_CODEC
from ddnn.codec import codec_of
from ddnn.data import Dataset
from ddnn.data.stored import at_once
from ddnn.errors import BadBundle
from ddnn.golden import TIES, TOLERANCE, compare, taken
from ddnn.network import DDNN, Scored
from ddnn.network.quantise import Sign
from ddnn.runtime import Section
from ddnn.types import Array, Bools, Exit, Ints, Tier

__all__ = ["choose", "golden", "masks", "prove", "prove_rounding"]

INNER_MARGIN: Final = 1e-5
"""A value before a sign inside a section closer to zero than this may be turned by rounding: ten times what rounding
was seen to do, and narrow enough to leave most events."""
LOST: Final = 0.05  #: share of golden events whose label rounded weights may make wrong, at each exit
BATCH: Final = 256
WITHIN: Final = 6  #: times as many numbers as a view has may a section make of it
BATCHES: Final = (1, 17)

_Below = tuple[Tensor, Tensor, Tensor]  #: of a batch, as `DDNN.above` takes them: scores, cuts, what a cloud has seen


def masks(present: Bools, seed: int) -> Iterator[tuple[str, Bools]]:
    """Presence masks (N, D) to prove under: as it was, all but each, each alone, at random; none ever empty."""
    devices = present.shape[1]
    yield "as seen", present
    everyone = np.ones_like(present)
    yield "all", everyone
    for device in range(devices if devices > 1 else 0):
        without, alone = everyone.copy(), ~everyone
        without[:, device], alone[:, device] = False, True
        yield f"without {device}", without
        yield f"only {device}", alone
    chance = np.random.default_rng(seed).random(present.shape)
    yield "at random", (chance < 0.5) | (chance == chance.max(axis=1, keepdims=True))


def prove(network: DDNN, folder: Path, events: Dataset, seed: int = 0) -> list[str]:
    """Prove the sections in `folder` on `events`; return all that rounding turned, named; raise `BadBundle`."""
    topology = network.topology
    sections = {spec.file: Section(folder / spec.file) for spec in topology.sections}
    turned, below = list[str](), _below(network, events.views)  # which does not depend on who else is there
    for mask, present in masks(events.present, seed):
        answers = _arrays(network, events.views, present, below)
        clear = _clear(network, events.views, present)
        for spec in topology.sections:
            if spec.tier is Tier.DEVICE and mask != "as seen":
                continue  # what a device says does not depend on who else is there
            inputs = taken(topology, spec, answers)
            for batch in (*BATCHES, len(present)):
                outputs = sections[spec.file].run(**{name: array[:batch] for name, array in inputs.items()})
                wanted = {name: array[:batch] for name, array in answers.items()}
                turned += compare(topology, spec, outputs, wanted, clear[:batch], "event", f" (devices: {mask})")
    return turned


def prove_rounding(network: DDNN, rounded: DDNN, events: Dataset) -> dict[str, int]:
    """Prove that weights of eight bits take no more than `LOST` of an exit's right labels away; raise `BadBundle`.

    Return how many labels they change at each exit, wrong ones too.
    """
    changed: dict[str, int] = {}
    before, after = (_answers(each, events.views, events.present) for each in (network, rounded))
    for exit in network.topology.exits:
        was, now = (getattr(scored, exit).argmax(dim=-1).reshape(len(events), -1) for scored in (before, after))
        y = torch.from_numpy(events.y_dev if exit is Exit.DEVICE else events.y[:, None])
        changed[exit.value], lost = int((was != now).sum()), int(((was == y) & (now != y)).sum())
        if lost > LOST * was.numel():
            found = f"network.weight_type 'int8' makes {lost} of {was.numel()} labels of the {exit} exit wrong"
            raise BadBundle(f"{found} that were right; expected {LOST:.0%} at most, or 'float32'")
    return changed


def golden(network: DDNN, test: Dataset, count: int, seed: int, *, pictures: bool = False) -> dict[str, Array]:
    """The golden events as `ddnn.bundle.Bundle.golden` lists them, of events that some device sees; as `pictures`."""
    # If there are others, none in which rounding may turn an inner sign: tiers test themselves on them, on any CPU.
    seen = np.asarray(test.present.any(axis=1))
    clear = _clear(network, test.views, test.present) & seen
    pool = test.take(np.flatnonzero(clear if clear.any() else seen))
    events = pool.take(choose(pool.y, count, seed))
    labels = {"index": events.index, "y": events.y, "y_dev": events.y_dev}
    if events.names is not None:
        labels["name"] = events.names
    views = [np.asarray(view) for view in events.views]
    files = {}
    if pictures:  # the views are then what these decode to, here as wherever the bundle is opened
        codec = codec_of(PICTURE_CODEC)
        files = {f"photograph_{index}": codec.pack(view) for index, view in enumerate(views)}
        views = [codec.unpack(file, view.shape[1:]) for file, view in zip(files.values(), views, strict=True)]
    return labels | files | _arrays(network, views, events.present)


def choose(y: Ints, count: int, seed: int) -> Ints:
    """At most `count` rows, the same number of each class as far as there are, ascending."""
    random = np.random.default_rng(seed)
    rank = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        rank[random.permutation(rows)] = np.arange(len(rows)) + random.random()  # spread a last, partial round
    return np.sort(np.argsort(rank, kind="stable")[:count])


def _clear(network: DDNN, views: Sequence[Array], present: Array) -> Bools:
    """Events (N,) without a value before a sign inside a section so near 0 that rounding turns it, and all scores."""
    nearest: list[Tensor] = []

    def look(module: nn.Module, values: tuple[Tensor]) -> None:
        each = values[0].abs().flatten(1).amin(dim=1)
        # A section that all devices share ran on all their views in one batch.
        nearest.append(each.reshape(-1, min(step, len(present) - start)).amin(dim=0))

    step = _step(views)
    inner = [module for name, module in network.named_modules() if not name.startswith("cuts.")]
    hooks = [module.register_forward_pre_hook(look) for module in inner if isinstance(module, Sign)]
    clear = np.ones(len(present), dtype=bool)
    for start in range(0, len(present) if hooks else 0, step):
        rows = slice(start, start + step)
        _answers(network, [view[rows] for view in views], present[rows])
        clear[rows] = (torch.stack(nearest).amin(dim=0) > INNER_MARGIN).numpy()
        nearest.clear()
    for hook in hooks:
        hook.remove()
    return clear


def _arrays(
    network: DDNN, views: Sequence[Array], present: Bools, below: Sequence[_Below] | None = None
) -> dict[str, Array]:
    """What torch says of events (N, …), as the golden ones have it: features as packed, and their ties."""
    scored, topology = _answers(network, views, present, below), network.topology
    arrays: dict[str, Array] = {**{f"view_{i}": view for i, view in enumerate(views)}, "present": present}
    arrays |= {f"{exit}_scores": getattr(scored, exit).numpy() for exit in topology.exits}
    for tier, cut in ((Tier.DEVICE, scored.device_cuts), (Tier.EDGE, scored.edge_cuts)):
        if cut is None or (features := topology.features(tier)) is None:
            continue
        with torch.no_grad():
            levels, near = network.cut(tier).encode(cut), network.cut(tier).near(cut, TOLERANCE)
        values = levels.flatten(2).numpy()
        for section in (each for each in topology.sections if each.tier is tier and each.features):
            values[:, section.index, section.features.values :] = 0  # type: ignore[union-attr]  # places it has none for
        arrays[f"{tier}_features"] = features.pack(values)
        arrays[f"{tier}_ties"] = TIES.pack(near.flatten(2).to(torch.uint8).numpy())
    return arrays


def _answers(network: DDNN, views: Sequence[Array], present: Array, below: Sequence[_Below] | None = None) -> Scored:
    """What torch says of events (N, …), on the CPU; `below` is what it has said of each device by itself."""
    masks = torch.from_numpy(present).split(_step(views))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        parts = [
            network.above(scores, cuts, mask, told)
            for mask, (scores, cuts, told) in zip(masks, below or _below(network, views), strict=True)
        ]
    return Scored._make(None if part[0] is None else torch.cat(part) for part in zip(*parts, strict=True))


@torch.no_grad()
def _below(network: DDNN, views: Sequence[Array]) -> list[_Below]:
    """What the devices' sections make of events (N, …), and a cloud that takes views, batch by batch."""
    tensors, step, found = (
        [torch.from_numpy(np.ascontiguousarray(view)) for view in views],
        _step(views),
        list[_Below](),
    )
    for start in range(0, len(tensors[0]), step):
        batch = [tensor[start : start + step] for tensor in tensors]
        found.append((*network.below(batch), network.told(batch)))
    return found


def _step(views: Sequence[Array]) -> int:
    """Events at a time: what a section makes of a view may have many times its numbers."""
    return max(at_once(views, WITHIN * BATCH) // WITHIN, 1)
