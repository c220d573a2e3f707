"""What sections learn without a gradient: the bins of their encodings, before; what judges beside them, after.

Both are fitted to what a section takes, seen as it passes.
Legend: N events, D devices, K classes, F numbers.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.data import Dataset
from ddnn.data.folds import folded
from ddnn.data.stored import at_once
from ddnn.network import DDNN
from ddnn.network.beside import Beside
from ddnn.network.blocks import Concat
from ddnn.network.encoding import Encode
from ddnn.network.sections import Blocks, Local
from ddnn.training.config import TrainingConfig
from ddnn.training.loader import Loader, batch_of, drop_devices, learnt, standing_in
from ddnn.types import Array, Ints, Tier

__all__ = ["fit_beside", "fit_encodings", "taken"]

MOST: Final = 10_000
"""Training events that are looked at, evenly taken."""
BATCH: Final = 1024
FOLDS: Final = 3
"""Parts of the training events, each judged by devices that learnt from the others."""
STRENGTH: Final = 0.1
"""Inverse penalty of the regression that weighs what devices say."""


def fit_encodings(network: DDNN, data: Dataset) -> None:
    """Lay the bins of each encoding between quantiles of the training events, from the devices upward."""
    encodings = [module for module in network.modules() if isinstance(module, Encode)]
    if not encodings:
        return
    events = batch_of(data.take(_learning(data)))
    # What is not seen is stood in for by what is, so that it moves no quantile.
    views = [view[standing_in(seen)] for view, seen in zip(events.views, events.present.unbind(dim=1), strict=True)]
    hooks = [module.register_forward_pre_hook(_lay) for module in encodings]
    with torch.no_grad():
        network.eval()(views, torch.ones_like(events.present))
    for hook in hooks:
        hook.remove()


def fit_beside(
    network: DDNN, data: Dataset, config: TrainingConfig, seed: int, tiers: Collection[Tier] = tuple(Tier)
) -> None:
    """Fit what judges beside the network at some `tiers` to the training events, local exits to what devices then say.

    Judges know the events that they learnt from by heart; a local exit is to weigh what they say of others. So it is
    fitted to scores of devices whose judges learnt from other folds. It weighs so where it concatenates.
    """
    fitted = [local for local in network.locals if isinstance(local, Local) and isinstance(local.fusion, Concat)]
    judged = any(isinstance(device, Blocks) and device.beside is not None for device in network.devices)
    if fitted and judged and Tier.DEVICE in tiers:
        _fit_locals(network, data, config, seed)
    _fit_judges(network, data, config, seed, tiers)


def _fit_judges(
    network: DDNN, data: Dataset, config: TrainingConfig, seed: int, tiers: Collection[Tier] = (Tier.DEVICE,)
) -> None:
    for section, x, y, whole in taken(network, data, config, seed, tiers=tiers):
        if section.beside is not None:
            section.beside.fit(x, y, whole=whole, seed=seed)


def _fit_locals(network: DDNN, data: Dataset, config: TrainingConfig, seed: int) -> None:
    """Fit the layer of each local exit by logistic regression; a device that is absent says its mean."""
    learning = data.take(_learning(data))
    scores, labels, present = list[Tensor](), list[Tensor](), list[Tensor]()
    for fold in folded(learning, FOLDS, most=MOST, seed=seed):
        _fit_judges(network, fold, config, seed)
        held = batch_of(fold.subset("validation"))
        with torch.no_grad():
            scores.append(network.below(held.views)[0])
        labels.append(held.y)
        present.append(held.present)
    said, y, seen = torch.cat(scores), torch.cat(labels), torch.cat(present)
    for local, group in zip(network.locals, network.plan.edges, strict=True):
        assert isinstance(local, Local)
        own, there = said[:, list(group)], seen[:, list(group)]
        some = there.any(dim=1)
        with torch.no_grad():
            local.fit(own[some], there[some], y[some].numpy(), strength=STRENGTH)


def taken(
    network: DDNN,
    data: Dataset,
    config: TrainingConfig,
    seed: int,
    *,
    tiers: Collection[Tier] = tuple(Tier),
    always: bool = False,
) -> Iterator[tuple[Blocks, Array, Ints, bool]]:
    """What sections of some `tiers` take in of the training events, (N, F), their classes (N,), and if all are whole.

    If they are not, each is there a second time with some devices lost. Of the sections that have something beside the
    network, or `always` of all.
    """
    sections = [
        (place, section)
        for place, section in _places(network)
        if place[0] in tiers and (always or section.beside is not None)
    ]
    if not sections:
        return
    learning = _learning(data)
    events, present = Loader(data, learning, batch=at_once(data.views, BATCH), in_order=True), data.present[learning]
    whole, masks = bool(present.all()), [torch.from_numpy(present)]
    if config.device_dropout and not whole:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            masks.append(drop_devices(masks[0], config.device_dropout, 0.0))
    found: dict[Blocks, list[Tensor]] = {section: [] for _, section in sections}
    with torch.no_grad(), _alone(network), _watched(found):
        for mask in masks:
            parts = iter(mask.tensor_split(len(events)))  # as a loader cuts its events
            for batch, seen in zip(events, parts, strict=True):
                network.eval()(batch.views, seen)
    labels = torch.from_numpy(data.y[learning]), torch.from_numpy(learnt(data)[learning])
    for place, section in sections:
        y, known = _labels(*labels, place, masks, network)
        yield section, torch.cat(found[section])[known].numpy(), y[known].numpy(), whole


def _places(network: DDNN) -> Iterator[tuple[tuple[Tier, int], Blocks]]:
    """Sections made of blocks, each with its tier and which of its sections it is."""
    lists = ((Tier.DEVICE, network.devices), (Tier.EDGE, network.edges), (Tier.CLOUD, [network.cloud]))
    for kind, sections in lists:
        for index, section in enumerate(sections):
            if isinstance(section, Blocks):
                yield (kind, index), section


def _labels(
    y_event: Tensor, y_dev: Tensor, place: tuple[Tier, int], masks: list[Tensor], network: DDNN
) -> tuple[Tensor, Tensor]:
    """Classes that a section learns, (N,), and which of them count."""
    kind, index = place
    if kind is Tier.DEVICE:
        columns = y_dev if network.plan.config.shared_weights else y_dev[:, index : index + 1]
        y = torch.cat([columns.T.flatten()] * len(masks))
        return y, y >= 0
    y = torch.cat([y_event] * len(masks))
    if kind is Tier.EDGE:
        return y, torch.cat([network.alive(present)[:, index] for present in masks])
    return y, torch.ones_like(y, dtype=torch.bool)


@contextmanager
def _alone(network: DDNN) -> Iterator[None]:
    """Let no one judge beside the network meanwhile: what sections take in does not depend on it, and it takes time."""
    judged = [module for module in network.modules() if isinstance(module, Beside) and module.fitted]
    for module in judged:
        module.fitted = False
    try:
        yield
    finally:
        for module in judged:
            module.fitted = True


@contextmanager
def _watched(found: dict[Blocks, list[Tensor]]) -> Iterator[None]:
    """Keep what each section takes, flat."""
    hooks = [
        section.taken.register_forward_hook(lambda _, __, x, kept=kept: kept.append(x.flatten(1)))
        for section, kept in found.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _lay(module: nn.Module, given: tuple[Any, ...]) -> None:
    assert isinstance(module, Encode)
    module.fit(given[0])


def _learning(data: Dataset) -> Ints:
    """Rows of the training events that are looked at."""
    rows = np.flatnonzero(data.split == "train")
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.int64)])
