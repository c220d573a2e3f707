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
from ddnn.network import DDNN, Scored
from ddnn.runtime import Section
from ddnn.types import Array, Bools

__all__ = ["masks", "prove"]

TOLERANCE: Final = 1e-4
BATCHES: Final = (1, 17)

_Wanted = tuple[Array, Array | None, Array | None]
"""Scores, bits and ties; an exit without anything above it has scores alone."""
_Case = tuple[str, Mapping[str, Array], _Wanted]


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
    sections = {name: Section(folder / name) for name in {*names[0], *names[1], *names[2], names[3]}}
    turned = []
    for mask_name, mask in masks(events.present, seed):
        scored = answers(network, events.views, mask)
        clear = clear_events(network, events.views, mask)
        for name, inputs, wanted in _cases(network, names, events, mask, scored):
            # What a device says does not depend on who else is there.
            if "present" in inputs or mask_name == "as seen":
                turned += _check(sections[name], inputs, wanted, clear, mask_name)
    return turned


def _cases(
    network: DDNN, names: tuple[list[str], list[str], list[str], str], events: Dataset, mask: Bools, scored: Scored
) -> Iterator[_Case]:
    """Each section's file, its inputs, and what torch says of them under `mask` (N, D)."""
    devices, locals_, edges, cloud = names
    up, alive = {"view": np.stack(events.views, axis=1)} if network.plan.raw else {}, mask
    groups = list(map(list, network.plan.edges))
    if scored.device is not None and scored.local is not None and scored.device_cuts is not None:
        up, near = {"features": bits(scored.device_cuts)}, ties(scored.device_cuts)
        for i, name in enumerate(devices):
            yield name, {"view": events.views[i]}, (scored.device[:, i].numpy(), up["features"][:, i], near[:, i])
        for i, name in enumerate(locals_):
            inputs = {"scores": scored.device[:, groups[i]].numpy(), "present": mask[:, groups[i]]}
            yield name, inputs, (scored.local[:, i].numpy(), None, None)
    if scored.edge is not None and scored.edge_cuts is not None:
        cuts, near = bits(scored.edge_cuts), ties(scored.edge_cuts)
        for i, name in enumerate(edges):
            inputs = {"features": up["features"][:, groups[i]], "present": mask[:, groups[i]]}
            yield name, inputs, (scored.edge[:, i].numpy(), cuts[:, i], near[:, i])
        alive, up = np.stack([mask[:, group].any(axis=1) for group in groups], axis=1), {"features": cuts}
    yield cloud, {**up, "present": alive}, (scored.cloud.numpy(), None, None)


def _check(section: Section, inputs: Mapping[str, Array], wanted: _Wanted, clear: Bools, mask: str) -> list[str]:
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
