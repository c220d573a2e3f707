"""Whom of its children a tier asks for the next level of an event, and which event waits for that."""

from collections.abc import Callable, Set
from dataclasses import replace

import numpy as np

from ddnn.levels import picked
from ddnn.serving.children import Children
from ddnn.serving.event import Event
from ddnn.types import Answer

__all__ = ["Asking", "whom"]


def whom(event: Event, waiting: Set[int], children: Children) -> Set[int]:
    """Of those that wait, whom to ask: for views those that took part, or as many as are likely to tell most."""
    if event.wanted != "view" or not children.views:
        return waiting
    here = event.inputs["present"] & np.isin(np.arange(children.width), list(waiting))
    return set(np.flatnonzero(picked(event.inputs["scores"], here, children.views.most, children.views.pick)).tolist())


class Asking:
    """Tells children what is wanted of them, and knows by their events' ids which event that was."""

    def __init__(self, row: Callable[..., Answer]) -> None:
        """`row` makes the row that is no answer to an event."""
        self._row = row
        self.events: dict[tuple[bytes, int], Event] = {}
        """By event id and child; of those that parted under one id, the one that has asked last."""

    def ask(self, event: Event, child: int) -> None:
        """Tell those that ask for `child` that its next level is wanted."""
        event.asked.add(child)
        event.unheard.add(child)
        self._tell(event, child, self._row(event, need_features=True))

    def spare(self, event: Event, child: int) -> None:
        """Tell them that it has only to wait: other rows of their request may be asked for more."""
        event.spared.add(child)
        self._tell(event, child, replace(self._row(event), degraded_reason="not_asked"))

    def forget(self, event: Event) -> None:
        """Wait no longer for what was asked for."""
        id = event.whole.id
        for child in event.asked | event.spared:
            if id is not None and self.events.get((id, child)) is event:
                del self.events[id, child]
        event.asked, event.spared, event.unheard = set(), set(), set()

    def _tell(self, event: Event, child: int, row: Answer) -> None:
        id = event.whole.id
        assert id is not None
        self.events[id, child] = event
        event.tell(child, row)
