"""A few golden events through a running fleet: whether its tiers, each well by itself, are joined as they should be."""

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer
from ddnn.data import Dataset
from ddnn.errors import DDNNError
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.served import ask

__all__ = ["golden_data", "rehearse"]

_EVENTS: Final = 12
_DEADLINE_MS: Final = 8000.0
"""A device whose contribution goes elsewhere is waited for, for half of this."""


def rehearse(urls: Sequence[str], bundle: Bundle, token: str | None = None) -> list[EventAnswer]:
    """Return what the devices at `urls` say of a few golden events of `bundle`.

    Raises `DDNNError` unless label, exit, probabilities and the devices that took part are those of the offline run.
    """
    data = golden_data(bundle)
    answers = asyncio.run(ask(urls, bundle, data, token=token, deadline_ms=_DEADLINE_MS))
    found = agreement(bundle, data, answers)
    if not found.ok:
        first = found.differing[0]
        raise DDNNError(
            f"{len(found.differing)} of {len(data)} golden events came back otherwise than offline, first event"
            f" {first['index']}: label {first['label_served']} at {first['exit_served']}, expected"
            f" {first['label_offline']} at {first['exit_offline']} ({first['why']})"
        )
    return answers


def golden_data(bundle: Bundle, most: int = _EVENTS) -> Dataset:
    """The first golden events of `bundle` that some device sees, as a data set."""
    golden = bundle.golden
    present = golden["present"].astype(np.bool_)
    whole = Dataset(
        name="golden",
        views=tuple(golden[f"view_{device}"] for device in range(len(bundle.topology.devices))),
        y=golden["y"],
        y_dev=golden["y_dev"],
        present=present,
        classes=bundle.manifest.classes,
        split=np.full(len(present), "test"),
        grid=None,
        index=golden["index"],
        fingerprint=bundle.fingerprint,
        source={},
    )
    return whole.take(np.flatnonzero(present.any(axis=1))[:most])
