"""Photographs of several cameras joined to events: those of one stretch of time are of one thing.

Live, stretches are numbered from the Unix epoch, so that processes whose clocks agree give their parts of an event one
id; in files from their beginning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ddnn.sources.source import Frame

__all__ = ["GRACE_S", "Joined", "Windows"]

GRACE_S: Final = 0.5  #: how long after its end a stretch is held open for a photograph that is on its way


@dataclass(frozen=True, slots=True)
class Joined:
    """An event: a stretch of time, and what each camera saw in it."""

    id: str
    time: float  #: where the stretch begins, in Unix seconds, or in seconds of the file
    views: tuple[bytes | None, ...]


@dataclass
class Windows:
    """Stretches of 1 / `rate` seconds in which `sources` cameras see the same; the first photograph of each counts."""

    site: str
    rate: float
    sources: int
    surplus: int = 0
    """Photographs that were not the first of their camera in a stretch."""
    late: int = 0
    """Photographs of stretches that were over."""
    _open: dict[int, list[bytes | None]] = field(default_factory=dict)
    _reached: list[float] = field(default_factory=list)
    _closed: int = -1

    def __post_init__(self) -> None:
        self._reached = [float("-inf")] * self.sources

    def add(self, source: int, frame: Frame) -> Sequence[Joined]:
        """Take a photograph; the events that are complete with it."""
        number, before = int(frame.time * self.rate), self._reached[source]
        self._reached[source] = max(before, number)
        if number == before:
            self.surplus += 1
        elif number < before or number <= self._closed:
            self.late += 1
        else:
            views = self._open.setdefault(number, [None] * self.sources)
            views[source] = frame.content
        return [*self._complete()]

    def ended(self, source: int) -> Sequence[Joined]:
        """Nothing more comes of a camera; the events that are complete without it."""
        self._reached[source] = float("inf")
        return [*self._complete()]

    def due(self, now: float) -> Sequence[Joined]:
        """The events whose time is over."""
        numbers = sorted(number for number in self._open if now > (number + 1) / self.rate + GRACE_S)
        return [self._close(number) for number in numbers]

    def _complete(self) -> Iterator[Joined]:
        """Close stretches, the first ones first, that each camera has seen, or is past."""
        for number in sorted(self._open):
            views = self._open[number]
            if any(view is None and reached <= number for view, reached in zip(views, self._reached, strict=True)):
                return
            yield self._close(number)

    def _close(self, number: int) -> Joined:
        self._closed = max(self._closed, number)
        return Joined(f"{self.site}-{number}", number / self.rate, tuple(self._open.pop(number)))
