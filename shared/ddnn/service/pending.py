"""An event that is being collected: its contributions so far and who waits for its answer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np

from ddnn.service.case import Case, Terms
from ddnn.types import Answer, Array, Bools

__all__ = ["Contribution", "Pending", "Stage"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one child sends for one event."""

    child: int
    """Place of the child in this tier's fusion."""
    terms: Terms
    scores: Array | None = None
    """(K,)"""
    features: Array | None = None
    """(bytes,), packed."""
    answered: bool = False
    """The child was sure and has answered its caller."""


class Stage(Enum):
    """Where a collected event stands."""

    GATHERING = auto()
    """Waiting for scores."""
    ASKING = auto()
    """Waiting for the features of those who took part."""
    CLIMBING = auto()
    """Complete; being decided here or above."""


@dataclass(eq=False, slots=True)
class Pending:
    """Over n children; rows of absent children are zero and masked out."""

    case: Case
    opened: float
    """Loop time of the first contribution."""
    stage: Stage = Stage.GATHERING
    scores: dict[int, Array] = field(default_factory=dict)
    features: dict[int, Array] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    replies: dict[int, list[asyncio.Future[Answer]]] = field(default_factory=dict)
    undelivered: set[int] = field(default_factory=set)
    """Children who are asked for features and have not heard of it yet."""
    timer: asyncio.TimerHandle | None = None

    def take_scores(self, part: Contribution) -> None:
        """Add a first contribution."""
        if part.scores is not None:
            self.scores[part.child] = part.scores
        if part.features is not None:
            self.features[part.child] = part.features
        if part.answered:
            self.answered.add(part.child)

    def close_scores(self, children: int) -> None:
        """Whoever sent scores takes part: fill `scores`, `present`, `answered`; `features` too if all sent them."""
        self.case.inputs["scores"] = _stack(self.scores, children)
        self.case.inputs["present"] = _mask(self.scores, children)
        self.case.inputs["answered"] = _mask(dict.fromkeys(self.answered), children)
        if len(self.features) == len(self.scores):
            self.close_features(children)

    def close_features(self, children: int) -> None:
        """Whoever sent features takes part from here on: fill `features` and `present`."""
        self.case.inputs["features"] = _stack(self.features, children)
        self.case.inputs["present"] = _mask(self.features, children)

    def stop_timer(self) -> None:
        """Forget the wait, if one runs."""
        if self.timer:
            self.timer.cancel()
            self.timer = None

    def reply_later(self, child: int) -> asyncio.Future[Answer]:
        """A place for the reply to this child."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.replies.setdefault(child, []).append(future)
        return future

    def reply(self, child: int, answer: Answer) -> None:
        """Reply to one child."""
        for future in self.replies.pop(child, []):
            if not future.done():
                future.set_result(answer)

    def reply_all(self, answer: Answer) -> None:
        """Reply to all; the bytes sent up are shared out among those who took part, and add up to them."""
        whole, rest = divmod(answer.bytes_up, max(len(self.scores), 1))
        for rank, child in enumerate(sorted(self.scores)):
            self.reply(child, replace(answer, bytes_up=whole + (rank < rest)))
        for child in list(self.replies):
            self.reply(child, replace(answer, bytes_up=0))


def _mask(children: Mapping[int, object], count: int) -> Bools:
    mask = np.zeros(count, np.bool_)
    mask[list(children)] = True
    return mask


def _stack(rows: Mapping[int, Array], count: int) -> Array:
    first = next(iter(rows.values()))
    stacked = np.zeros((count, *first.shape), first.dtype)
    for child, row in rows.items():
        stacked[child] = row
    return stacked
