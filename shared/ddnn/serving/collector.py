"""What waits for an event's contributions: bounded in events, bytes and time.

An event is complete when every child that is alive has contributed, or when its wait is over. Used by the edge over its
devices and by the cloud over its edges. Everything runs on one event loop; nothing here blocks.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ddnn.errors import Overloaded
from ddnn.policy import Policy
from ddnn.serving.case import Case, Contribution, Terms, no_answer
from ddnn.serving.pending import Pending, Place, Stage
from ddnn.serving.waits import Waits
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Bools

__all__ = ["Collector", "Reply"]

_ROUND_TRIP: Final = 0.1
"""Features that were asked for get this many seconds to come, however short the wait for absent children is."""
_CONTRIBUTION_BYTES: Final = 2000
"""What one costs beside its tensors: the arrays' heads, its reply, whoever knows it (benchmarks/scale.py)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a contribution will be told."""

    future: asyncio.Future[Answer]
    case: Case | None
    """The event it belongs to, while that is not answered."""


@dataclass(frozen=True, slots=True)
class _Held:
    answer: Answer
    opened: float
    answered: float


class Collector:
    """Joins the contributions of children, who have their `places` out of `width` in the fusion, into events.

    Complete ones go to `advance`, in batches; `gathered` hears which devices were in time, `settled` each event
    with its answer. An event's tensors may grow to `event_bytes`, when all have sent all; room for that, and for what a
    contribution costs beside them, is kept from its first contribution on. Children who wait themselves are waited for
    `patience` times as long as the policy or the request says.
    """

    def __init__(
        self,
        places: Sequence[Place],
        *,
        width: int,
        devices: int,
        classes: int,
        event_bytes: int,
        policy: Callable[[], Policy],
        advance: Callable[[list[Case]], None],
        settings: CollectorSettings,
        patience: int = 1,
        gathered: Callable[[Bools], None] = lambda devices: None,
        settled: Callable[[Case, Answer], None] = lambda case, answer: None,
    ) -> None:
        self.waits = Waits(len(places), settings.alive_events)
        self._places, self._width, self._patience = tuple(places), width, patience
        self._devices, self._classes = devices, classes
        self._policy, self._advance, self._settings = policy, advance, settings
        most = settings.bytes // (event_bytes + len(places) * _CONTRIBUTION_BYTES)
        self._room = max(1, min(settings.events, most))
        self._tell_gathered, self._tell_settled = gathered, settled
        self._waiting: dict[bytes, Pending] = {}
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._of_case: dict[int, Pending] = {}
        self._ready: list[Case] = []
        self._gave_up = False

    @property
    def pending(self) -> int:
        """Events not answered yet."""
        return len(self._of_case)

    @property
    def held(self) -> int:
        """Answered events kept for late contributions."""
        return len(self._held)

    def offer(self, event: bytes | None, part: Contribution) -> Reply:
        """Add one contribution. A repeat of the same contribution changes nothing; raise `Overloaded` when full."""
        now = asyncio.get_running_loop().time()
        self._forget_old(now)
        if event is not None and (held := self._held.get(event)):
            self.waits.late(part.child, now - held.opened)
            return Reply(_done(replace(held.answer, bytes_up=0)), None)
        pending = self._waiting.get(event) if event is not None else None
        if pending is None and part.second:
            return Reply(_done(self._row(need_features=False)), None)
        pending = pending or self._open(event, part.terms, now)
        pending.case.deadline = max(pending.case.deadline, part.terms.deadline)
        if part.answered:  # nobody waits for the reply
            self._add(pending, part, now)
            return Reply(_done(self._row(pending.case, need_features=False)), None)
        reply = pending.reply_later(part.child)
        if part.second:
            self._add_features(pending, part)
        else:
            self._add(pending, part, now)
        return Reply(reply, pending.case)

    def forget(self, reply: Reply) -> None:
        """The caller of this reply has left; an event that nobody waits for goes no further.

        While it gathers, its other children may still come.
        """
        pending = self._of_case.get(id(reply.case))
        if pending and not reply.future.done():
            pending.forget(reply.future)
            if pending.unwanted and pending.stage is Stage.CLIMBING:
                self._drop(pending)

    def knows(self, event: bytes | None) -> bool:
        """Whether the event is waiting here, or answered and still held."""
        return event in self._waiting or event in self._held

    def ask(self, case: Case) -> None:
        """Ask those who took part for their features, and wait for them from when the last of them has heard of it.

        Nobody waits for a child to hear whose caller has left meanwhile.
        """
        pending = self._of_case[id(case)]
        pending.stage = Stage.ASKING
        pending.undelivered = (pending.first.keys() & pending.replies.keys()) - pending.features.keys()
        if pending.undelivered:
            self._start_timer(pending, case.left() / 2, self._complete_features)
        else:
            self._wait_for_features(pending)
        for child in list(pending.undelivered):
            pending.reply(child, self._row(case, need_features=True))
        if self._gave_up:
            case.degrade("draining")

    def delivered(self, case: Case, child: int) -> None:
        """The reply that asks `child` for its features is on its way."""
        pending = self._of_case.get(id(case))
        if pending and pending.stage is Stage.ASKING and child in pending.undelivered:
            pending.undelivered.discard(child)
            if not pending.undelivered:
                self._wait_for_features(pending)

    def give_up(self) -> None:
        """Wait for nobody any more, now and from now on: the drain is over."""
        self._gave_up = True
        for pending in list(self._of_case.values()):
            if pending.stage is Stage.GATHERING:
                self._complete(pending)
            elif pending.case.reached >= 0:
                pending.case.degrade("draining")

    def close(self) -> None:
        """Stop every wait."""
        for pending in self._of_case.values():
            pending.stop_timer()

    def _open(self, event: bytes | None, terms: Terms, now: float) -> Pending:
        self._make_room()
        outcome: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        nobody, nothing = np.zeros(self._devices, np.bool_), self._row(need_features=False)
        case = Case(event, self._policy(), terms, {}, nobody, nothing, outcome)
        pending = Pending(case, now)
        self._of_case[id(case)] = pending
        outcome.add_done_callback(lambda _: self._settled(pending))
        if event is not None:
            self._waiting[event] = pending
            cap = self._patience * case.policy.wait_ms / 1000
            wait = self.waits.wait(cap) if case.policy.adaptive_wait else cap
            self._start_timer(pending, self._asked(case, wait), self._complete)
        return pending

    def _add(self, pending: Pending, part: Contribution, now: float) -> None:
        if part.child in pending.first:
            if pending.stage is Stage.ASKING and part.child not in pending.features:
                pending.reply(part.child, self._row(pending.case, need_features=True))
        elif pending.stage is not Stage.GATHERING:
            self.waits.late(part.child, now - pending.opened)
        else:
            pending.take(part)
            if len(pending.first) > 1:
                self.waits.arrived(now - pending.opened)
            everyone = pending.case.terms.wait_ms is not None
            if pending.case.event is None or self.waits.complete(pending.first, everyone=everyone):
                self._complete(pending)

    def _add_features(self, pending: Pending, part: Contribution) -> None:
        if part.child not in pending.first:
            pending.reply(part.child, self._row(pending.case, need_features=False))
        elif pending.stage is Stage.ASKING:
            pending.features.setdefault(part.child, part)
            if len(pending.features) == len(pending.first):
                self._complete_features(pending)

    def _complete(self, pending: Pending) -> None:
        self._go(pending, pending.first)
        if pending.case.event is not None:
            self.waits.closed(pending.first)
            self._tell_gathered(pending.case.devices)

    def _complete_features(self, pending: Pending) -> None:
        if pending.features:
            self._go(pending, pending.features)
        else:
            pending.case.degrade("no_features")

    def _wait_for_features(self, pending: Pending) -> None:
        wait = self._asked(pending.case, pending.case.policy.wait_ms / 1000)
        self._start_timer(pending, max(wait, _ROUND_TRIP), self._complete_features)

    def _go(self, pending: Pending, parts: Mapping[int, Contribution]) -> None:
        """Hand the event on as `parts` make it, together with all that become complete in this turn of the loop."""
        if pending.unwanted:
            self._drop(pending)
            return
        pending.stop_timer()
        pending.stage = Stage.CLIMBING
        pending.fill(parts, self._places, self._width)
        self._ready.append(pending.case)
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        for case in ready:
            if case.left() <= 0:
                case.degrade("deadline")
        if wanted := [case for case in ready if not case.outcome.done()]:
            self._advance(wanted)

    def _drop(self, pending: Pending) -> None:
        pending.case.settle(replace(self._row(pending.case, need_features=False), degraded_reason="gone"))

    def _settled(self, pending: Pending) -> None:
        pending.stop_timer()
        del self._of_case[id(pending.case)]
        answer, event = pending.case.outcome.result(), pending.case.event
        self._tell_settled(pending.case, answer)
        pending.reply_all(answer)
        if event is not None:
            del self._waiting[event]
        if event is not None and answer.label >= 0:  # whoever tries again what failed begins anew
            late = replace(answer, need_features=False)  # an audit wants them of those who took part
            self._held[event] = _Held(late, pending.opened, asyncio.get_running_loop().time())

    def _start_timer(self, pending: Pending, seconds: float, then: Callable[[Pending], None]) -> None:
        """Wait `seconds`, at most half of what is left, so that time remains to go up."""
        wait = max(0.0, min(seconds, pending.case.left() / 2))
        pending.stop_timer()
        pending.timer = asyncio.get_running_loop().call_later(wait, then, pending)

    def _asked(self, case: Case, seconds: float) -> float:
        """The wait that the request asked for, or `seconds`."""
        return seconds if case.terms.wait_ms is None else self._patience * case.terms.wait_ms / 1000

    def _row(self, case: Case | None = None, *, need_features: bool) -> Answer:
        """No answer, under the policy that the event is decided under where there is one."""
        version = (case.policy if case else self._policy()).version
        return no_answer(self._classes, self._devices, version, need_features=need_features)

    def _make_room(self) -> None:
        while self._held and self.pending + self.held >= self._settings.events:
            self._held.popitem(last=False)
        if self.pending >= self._room:
            raise Overloaded(f"{self.pending} events are waiting here already; expected fewer than that")

    def _forget_old(self, now: float) -> None:
        while self._held and now - next(iter(self._held.values())).answered > self._settings.hold_s:
            self._held.popitem(last=False)


def _done(answer: Answer) -> asyncio.Future[Answer]:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    future.set_result(answer)
    return future
