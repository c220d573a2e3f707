"""The tiers below one: who was heard of, and what they told last."""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Self

from ddnn.errors import BadInput
from ddnn.serving.bulletin import Bulletin
from ddnn.serving.room.report import MOST_EVENTS, MOST_VIEWS, Report, Reports, key
from ddnn.settings import Settings
from ddnn.topology import Topology
from ddnn.types import Tier

__all__ = ["Below"]

_LINES: Final = 8  #: streams of a child from one address at once: of a restart, of two bundles
_SILENT_S: Final = 2.0  #: a child that neither waits for an answer nor has asked for so long is gone


class Below:
    """The children of a tier, and of a cloud their devices."""

    def __init__(
        self,
        child: Tier,
        children: Mapping[int, Collection[int]],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`children` by number, each with the devices below it; they ask for the policy about `every_s`."""
        self.child, self.children = child, children
        self._silent_s, self._clock = max(_SILENT_S, 4 * every_s), clock
        self._heard: dict[int, float] = {}
        self._waiting, self._lines = Counter[int](), dict[tuple[int, str], list[Callable[[], object]]]()
        self._looked_at = math.inf  # since when somebody looks
        self.bulletin = Bulletin()
        self.bulletin.listen(self._look)
        self._latest: dict[str, Report] = {}
        self._news: dict[str, Report] = {}
        self._question: tuple[int, bytes] | None = None
        self.changed: Callable[[Report], None] = lambda report: None  #: hears of each report that comes

    @classmethod
    def of(cls, tier: Tier, topology: Topology, settings: Settings) -> Self:
        """Those below one tier of a network."""
        every_s, edges = settings.policy_poll_s, topology.edges
        if tier is Tier.CLOUD:
            return cls(Tier.EDGE, {index: edge.devices for index, edge in enumerate(edges)}, every_s=every_s)
        return cls(Tier.DEVICE, dict.fromkeys(edges[settings.index].devices, ()), every_s=every_s)

    @property
    def question(self) -> tuple[int, bytes] | None:
        """A policy that they are to try, with a number."""
        return self._question

    @question.setter
    def question(self, question: tuple[int, bytes] | None) -> None:
        self._question = question
        self.bulletin.put("trial", str(question[0]) if question else "")

    @contextmanager
    def waits(self, number: int) -> Iterator[None]:
        """A child is there for as long as its question is held: a connection that breaks ends that at once."""
        self._waiting[number] += 1
        try:
            yield
        finally:
            self._waiting[number] -= 1
            self._heard[number] = self._clock()

    @contextmanager
    def line(self, number: int, address: str, end: Callable[[], object]) -> Iterator[None]:
        """A stream of a child is open, which `end` closes: one too many ends the oldest, that may be cut off.

        Copies of a child, as in many sites of one network, are at addresses of their own.
        """
        whose = number, address
        lines = self._lines.setdefault(whose, [])
        if len(lines) >= _LINES:
            lines.pop(0)()
        lines.append(end)
        try:
            yield
        finally:
            if end in lines:
                lines.remove(end)
            if not lines and self._lines.get(whose) is lines:
                del self._lines[whose]

    def here(self, number: int) -> None:
        """Something has come from a child."""
        self._heard[number] = self._clock()

    def heard(self, header: str | None) -> int | None:
        """A request of the child that calls itself so, `device/3`; its number, None for anything else."""
        tier, _, index = (header or "").partition("/")
        if tier != self.child or not (index.isascii() and index.isdigit() and len(index) < 5):
            return None
        if (number := int(index)) not in self.children:
            return None
        self._heard[number] = self._clock()
        return number

    def alive(self) -> dict[int, bool]:
        """Each child, and whether it waits for an answer, or was heard of lately.

        While somebody looks, waiting says nothing: they are told to speak up, and one whose line is cut does not.
        """
        now = self._clock()
        since, trusted = now - self._silent_s, now - self._looked_at < self._silent_s
        waiting = {number for number, count in self._waiting.items() if count > 0 and trusted}
        return {number: number in waiting or self._heard.get(number, -1e9) > since for number in self.children}

    def _look(self) -> None:
        if not self.bulletin["watch"]:
            self._looked_at = math.inf
        elif self._looked_at == math.inf:
            self._looked_at = self._clock()

    def take(self, reports: Reports) -> None:
        """Keep what a child told of itself and of those below it; raise `BadInput` where it tells of others."""
        first, *others = reports.tiers
        if first.tier is not self.child or first.index not in self.children:
            names = ", ".join(key(self.child, number) for number in self.children)
            raise BadInput(f"tiers.0 is {first.key}; expected one of {names}")
        for report in others:
            if report.tier is not Tier.DEVICE or report.index not in self.children[first.index]:
                raise BadInput(f"{first.key} tells of {report.key}, which is not below it")
        for report in reports.tiers:
            earlier = self._news.get(report.key)
            if earlier:  # what it told has not gone on yet
                kept = {
                    "views": (*earlier.views, *report.views)[-MOST_VIEWS:],
                    "events": (*earlier.events, *report.events)[-MOST_EVENTS:],
                    "trial": report.trial or earlier.trial,
                }
                report = report.model_copy(update=kept)
            self._latest[report.key] = self._news[report.key] = report
            self.changed(report)

    def news(self) -> list[Report]:
        """What came since it was last told on."""
        return list(self._news.values())

    def told(self, reports: Sequence[Report]) -> None:
        """These have gone on."""
        for report in reports:
            if self._news.get(report.key) is report:
                del self._news[report.key]
