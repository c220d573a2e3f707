"""Which events are kept, for what, and what is noted of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from typing import Any

import numpy as np

from ddnn.drift import sampled
from ddnn.policy import Doubts
from ddnn.serving.event import Event
from ddnn.types import Answer, Array

__all__ = ["Kind", "Noted", "kind_of", "npy", "record_of"]

_DECIMALS = 4


class Kind(StrEnum):
    """Why an event is kept; the first that applies."""

    DISAGREEING = "disagreeing"  #: an audit found that the cloud calls it something else
    DEGRADED = "degraded"
    UNSURE = "unsure"
    RANDOM = "random"  #: by chance, so that there is something to compare with
    SEEN = "seen"  #: at a device, that the tier above keeps it


@dataclass(slots=True)
class Noted:
    """One event on its way to the disk."""

    id: bytes
    kind: Kind
    record: Mapping[str, Any] | None = None  #: what was said of it, arrays in it; None where only its view is kept
    view: Array | None = None
    at: float = field(default_factory=time.time)  #: seconds since 1970

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return 2000 + (self.view.nbytes if self.view is not None else 0)


def kind_of(doubts: Doubts, event: Event, id: bytes | None, answer: Answer) -> Kind | None:
    """Why an event with that answer is kept, if it is; one that its callers' own terms decided is not."""
    if answer.label < 0 or event.swayed:
        return None
    if answer.degraded:
        return Kind.DEGRADED if doubts.degraded else None
    if answer.confidence < doubts.unsure:
        return Kind.UNSURE
    # Not by the id alone, by which audits are chosen: those would be the same events.
    return Kind.RANDOM if sampled(id and b"doubts " + id, doubts.random) else None


def record_of(event: Event, answer: Answer, classes: Sequence[str], cloud: Answer | None = None) -> dict[str, Any]:
    """What each exit said of an event, and who took part; `cloud` is what an audit heard.

    Made on the event loop, of arrays that nothing writes to any more.
    """
    return {
        "label": answer.label,
        "class": classes[answer.label],
        "exit": answer.exit.value,
        "confidence": answer.confidence,
        "probabilities": answer.probabilities,
        "reason": answer.degraded_reason if answer.degraded else "",
        "devices": answer.devices,
        "late": list(answer.late),
        "policy": answer.policy_version,
        "bundle": event.rule.policy.bundle[:12],
        "exits": {exit.value: scores for exit, scores in event.judged.items()},
        "below": _below(event),
        "cloud": None if cloud is None else _said(cloud, classes),
    }


def _said(cloud: Answer, classes: Sequence[str]) -> dict[str, Any]:
    return {"label": cloud.label, "class": classes[cloud.label], "confidence": cloud.confidence}


def _below(event: Event) -> dict[str, Array]:
    """Scores of the devices below by their place at this edge, as far as they are known."""
    scores, here = event.inputs.get("scores"), event.inputs.get("present")
    if scores is not None and here is not None and scores.ndim == 2:
        return {str(place): scores[place] for place in np.flatnonzero(here).tolist()}
    parts = event.contributions.values()
    return {str(part.child): part.inputs["scores"][0] for part in parts if "scores" in part.inputs}


def plain(value: Any) -> Any:
    """A record as JSON has it: numbers of a few decimals."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype == np.bool_ else np.round(value.astype(float), _DECIMALS).tolist()
    value = value.item() if isinstance(value, np.generic) else value
    return round(value, _DECIMALS) if isinstance(value, float) else value


def npy(view: Array) -> bytes:
    """An array as a `.npy` file."""
    file = BytesIO()
    np.save(file, view, allow_pickle=False)
    return file.getvalue()
