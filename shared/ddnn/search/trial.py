"""One network of a search: trained briefly, and judged by validation events."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from ddnn.data import Dataset
from ddnn.errors import BadConfig
from ddnn.network import DDNN
from ddnn.policy import Policy
from ddnn.recipe import scores_of
from ddnn.training import Config, Trainer, initial_network
from ddnn.training.federated.site import shared_of
from ddnn.training.federated.wire import Parcel
from ddnn.tuning import Objective, Sample, choose

__all__ = ["Per", "Trial", "memory_of", "try_out", "untrained"]

Per = Literal["event", "round"]
"""Bytes that are counted: of an event that is answered, or of a site in a federated round, to and fro."""
VALUE: Final = 4
NEVER: Final = 1 << 62
"""Bytes of what cannot be built."""


@dataclass(frozen=True)
class Trial:
    """What a network came to."""

    number: int  #: in the order of the search; 0 is where it starts
    genes: Mapping[str, Any]
    error: float
    """Share of the validation events that the fleet answers wrong, under thresholds tuned on them."""
    event_bytes: float
    """Mean payload bytes of one of them."""
    round_bytes: int
    """What a site of a federated training is sent and sends in a round."""
    memory: int
    """Bytes of the largest device section's weights in single precision."""
    exits: Mapping[str, float]
    """What each exit gets right if it answers all."""
    seconds: float
    refused: str | None = None
    """Why it was not trained."""

    def bytes(self, per: Per) -> float:
        """Those that are counted."""
        return self.event_bytes if per == "event" else self.round_bytes

    def document(self, per: Per) -> dict[str, Any]:
        """For a page, and `--json`."""
        told = {"number": self.number, "genes": dict(self.genes), "error": self.error, "bytes": self.bytes(per)}
        told |= {"event_bytes": self.event_bytes, "round_bytes": self.round_bytes, "memory": self.memory}
        return told | {"exits": dict(self.exits), "seconds": self.seconds, "refused": self.refused}


def memory_of(network: DDNN) -> int:
    """Bytes of the largest device section's weights, in single precision."""
    each = [sum(tensor.numel() for tensor in section.state_dict().values()) for section in network.devices]
    return VALUE * max(each, default=0)


def try_out(config: Config, data: Dataset, seed: int, most_memory: int | None) -> dict[str, Any]:
    """Train a network on the training events and judge it on the validation events; no others are looked at.

    What cannot be built, or takes more memory than it may, is refused with a sentence, untrained.
    """
    begun, own = time.perf_counter(), data.take(np.flatnonzero(data.split != "test"))
    try:
        memory = memory_of(initial_network(config, own, seed))
        refused = _too_large(memory, most_memory)
        trainer = None if refused else Trainer(config, own, seed=seed)
    except BadConfig as error:
        memory, refused, trainer = 0, str(error), None
    if trainer is None:
        return untrained(str(refused), memory)
    while not trainer.over:
        trainer.epoch()
    round_bytes = _round_bytes(trainer)
    scores = scores_of(trainer.best(), own)
    # As a bundle sends them where that changes no answer, which it nearly always does not.
    scores = replace(scores, topology=scores.topology.with_scores("float16"))
    sample = Sample(scores, names=data.classes)
    policy = choose(sample, Policy(bundle=""), Objective()).policy
    outcome = sample.outcome(policy)
    exits = {exit.value: float(scores.right(scores.labels(exit)).mean()) for exit in scores.topology.exits}
    return {
        "memory": memory,
        "refused": None,
        "error": 1 - outcome.accuracy,
        "event_bytes": outcome.cost,
        "round_bytes": round_bytes,
        "exits": exits,
        "seconds": time.perf_counter() - begun,
    }


def _round_bytes(trainer: Trainer) -> int:
    """What a site is sent and sends in a round of such a network, what does not exist left out."""
    if any(each.slopes is not None for each in trainer.network.inputs):
        return NEVER
    return 2 * len(Parcel(0, shared_of(trainer).all.read(), sparse=trainer.sparse is not None).packed())


def untrained(sentence: str, memory: int = 0) -> dict[str, Any]:
    """What a network comes to that cannot be had."""
    never = {"error": 1.0, "event_bytes": NEVER, "round_bytes": NEVER, "memory": memory}
    return {**never, "exits": {}, "seconds": 0.0, "refused": sentence}


def _too_large(memory: int, most: int | None) -> str | None:
    if most is None or memory <= most:
        return None
    return f"a device's weights take {memory} bytes; expected at most {most}"
