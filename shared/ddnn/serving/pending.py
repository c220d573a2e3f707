"""An event that is being collected: its contributions so far and who waits for its answer."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np

from ddnn.serving.case import Case, Contribution
from ddnn.types import Answer, Array, Ints

__all__ = ["Pending", "Place", "Stage"]

Place = slice | Ints
"""Where a child's rows go in the fusion of its tier."""


class Stage(Enum):
    """Where a collected event stands."""

    GATHERING = auto()
    """Waiting for the children."""
    ASKING = auto()
    """Waiting for the features of those who took part."""
    CLIMBING = auto()
    """Complete; being decided here or above."""


@dataclass(eq=False, slots=True)
class Pending:
    """Who has contributed, and who waits for a reply."""

    case: Case
    opened: float
    """Loop time of the first contribution."""
    stage: Stage = Stage.GATHERING
    first: dict[int, Contribution] = field(default_factory=dict)
    """Each child's first contribution."""
    features: dict[int, Contribution] = field(default_factory=dict)
    """Of those, or of what came when it was asked for, what has features."""
    replies: dict[int, list[asyncio.Future[Answer]]] = field(default_factory=dict)
    undelivered: set[int] = field(default_factory=set)
    """Children who are asked for features and have not heard of it yet."""
    timer: asyncio.TimerHandle | None = None
    left: bool = False
    """Whether a caller has left, and none was waiting then."""

    @property
    def unwanted(self) -> bool:
        """Whether whoever waited has left, and no child was sure, of which others may have to hear."""
        return self.left and not self.replies and not any(part.answered for part in self.first.values())

    def forget(self, future: asyncio.Future[Answer]) -> None:
        """The caller of this reply has left."""
        waiting = {child: [each for each in futures if each is not future] for child, futures in self.replies.items()}
        self.replies = {child: futures for child, futures in waiting.items() if futures}
        self.left = not self.replies

    def take(self, part: Contribution) -> None:
        """Add a first contribution."""
        self.first[part.child] = part
        if "features" in part.inputs:
            self.features[part.child] = part

    def fill(self, parts: Mapping[int, Contribution], places: Sequence[Place], width: int) -> None:
        """Whoever is in `parts` takes part from here on: fill what all of them sent over the `width` places.

        Places of absent children are zero and masked out.
        """
        case = self.case
        case.devices = np.logical_or.reduce([part.devices for part in parts.values()])
        case.answered = [part for _, part in sorted(parts.items()) if part.answered]
        if case.answered:
            return  # nothing is fused
        case.inputs["present"] = _spread({child: part.present for child, part in parts.items()}, places, width)
        for name in set.intersection(*(set(part.inputs) for part in parts.values())):
            case.inputs[name] = _spread({child: part.inputs[name] for child, part in parts.items()}, places, width)

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
        """Reply to all; the bytes sent up are shared out among those whose callers wait, and add up to them."""
        waiting = [child for child, part in sorted(self.first.items()) if not part.answered]
        whole, rest = divmod(answer.bytes_up, max(len(waiting), 1))
        for rank, child in enumerate(waiting):
            self.reply(child, replace(answer, bytes_up=whole + (rank < rest)))
        for child in list(self.replies):
            self.reply(child, replace(answer, bytes_up=0))


def _spread(rows: Mapping[int, Array], places: Sequence[Place], width: int) -> Array:
    first = next(iter(rows.values()))
    spread = np.zeros((width, *first.shape[1:]), first.dtype)
    for child, part in rows.items():
        spread[places[child]] = part
    return spread
