"""The proof that ONNX Runtime says what torch says, section by section, each on torch's own inputs.

Scores may differ by 1e-4 given equal bits, and a bit only where its value before the sign is within 1e-4 of zero. In
binary blocks there are signs inside a section too: an event in which one of those is a tie may differ in everything.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ddnn.data import Dataset
from ddnn.errors import BadBundle
from ddnn.export.golden import answers, bits, clear_events, ties
from ddnn.export.graphs import section_names
from ddnn.network import DDNN
from ddnn.runtime import Section
from ddnn.types import Array, Bools

__all__ = ["masks", "prove"]

TOLERANCE: Final = 1e-4
BATCHES: Final = (1, 17)


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
    """Prove the sections in `folder` on `events`; return each bit that rounding turned, named; raise `BadBundle`."""
    names = section_names(network)
    devices, locals_, edges = ([Section(folder / name) for name in part] for part in names[:3])
    cloud, turned = Section(folder / names[3]), []
    for mask_name, mask in masks(events.present, seed):
        scored = answers(network, events.views, mask)
        clear = clear_events(network, events.views, mask)
        device_bits, device_ties = bits(scored.device_cuts), ties(scored.device_cuts)
        if mask_name == "as seen":
            for i, section in enumerate(devices):
                wanted = (scored.device[:, i].numpy(), device_bits[:, i], device_ties[:, i])
                turned += _check(section, {"view": events.views[i]}, wanted, clear, mask_name)
        alive, up = mask, device_bits
        edge_bits = edge_ties = None
        if scored.edge is not None and scored.edge_cuts is not None:
            edge_bits, edge_ties = bits(scored.edge_cuts), ties(scored.edge_cuts)
            up = edge_bits
            alive = np.stack([mask[:, list(group)].any(axis=1) for group in network.plan.edges], axis=1)
        for i, group in enumerate(map(list, network.plan.edges)):
            inputs = {"scores": scored.device[:, group].numpy(), "present": mask[:, group]}
            turned += _check(locals_[i], inputs, (scored.local[:, i].numpy(), None, None), clear, mask_name)
            if scored.edge is not None and edge_bits is not None and edge_ties is not None:
                inputs = {"features": device_bits[:, group], "present": mask[:, group]}
                wanted = (scored.edge[:, i].numpy(), edge_bits[:, i], edge_ties[:, i])
                turned += _check(edges[i], inputs, wanted, clear, mask_name)
        turned += _check(
            cloud, {"features": up, "present": alive}, (scored.cloud.numpy(), None, None), clear, mask_name
        )
    return turned


def _check(
    section: Section,
    inputs: Mapping[str, Array],
    wanted: tuple[Array, Array | None, Array | None],
    clear: Bools,
    mask: str,
) -> list[str]:
    """Compare a section with torch's scores, bits and ties at several batch sizes; return what ties turned."""
    scores, features, near = wanted
    where = f"{section.file.name} (devices: {mask})"
    for batch in (*BATCHES, len(scores)):
        found = list(section.run(**{name: array[:batch] for name, array in inputs.items()}).values())
        if found[0].shape != scores[:batch].shape:
            raise BadBundle(f"{where}: gives scores of shape {found[0].shape}; torch gives {scores[:batch].shape}")
        sure = clear[:batch]
        apart = np.abs(found[0] - scores[:batch]).max(axis=1)
        if not (apart[sure] <= TOLERANCE).all():
            raise BadBundle(
                f"{where}: scores differ from torch's by {apart[sure].max():.2g}; expected at most {TOLERANCE}"
            )
        turned = [f"{where} event {event}: scores" for event in np.flatnonzero(apart > TOLERANCE)]
        if features is not None and near is not None:
            different = found[1] != features[:batch]
            wrong = different & (near[:batch] == 0) & sure[:, None]
            if wrong.any():
                event, bit = np.argwhere(wrong)[0]
                raise BadBundle(f"{where}: bit {bit} of event {event} differs from torch's, and is not near a tie")
            turned += [f"{where} event {event}: bit {bit}" for event, bit in np.argwhere(different)]
    return turned
