"""The views of events that are on their way up, kept for the tier above to ask for: bounded in number and bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ddnn.serving.event import Event
from ddnn.serving.metrics import Metrics
from ddnn.settings import ViewSettings

__all__ = ["Views"]


class Views:
    """Keeps each event's view until the event is closed; where there is no room, the oldest goes."""

    def __init__(self, settings: ViewSettings, metrics: Metrics) -> None:
        self._settings, self._dropped = settings, metrics.views_dropped
        self._kept: dict[Event, int] = {}  # bytes of each, in the order in which they came
        self._bytes = 0

    @contextmanager
    def kept(self, events: Sequence[Event]) -> Iterator[None]:
        """Keep the views of `events` within the block."""
        for event in events:
            self._kept[event] = size = event.inputs["view"].nbytes
            self._bytes += size
        while len(self._kept) > self._settings.events or self._bytes > self._settings.bytes:
            event = next(iter(self._kept))
            event.inputs.pop("view", None)
            self._forget(event)
            self._dropped.inc()
        try:
            yield
        finally:
            for event in events:
                self._forget(event)

    def _forget(self, event: Event) -> None:
        self._bytes -= self._kept.pop(event, 0)
