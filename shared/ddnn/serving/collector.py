"""What joins the contributions of a tier's children into events: bounded in events, bytes and time."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

import numpy as np

from ddnn.errors import DDNNError, Overloaded
from ddnn.exits import judge
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply, State
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions, Stage
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Array, Ints

__all__ = ["Children", "Collector", "Place", "Stragglers"]

Place = slice | Ints  #: where a child's rows go in the fusion of its tier

_ROUND_TRIP_S: Final = 0.1  # features that were asked for get this long to come, however short the straggler timeout is
_CONTRIBUTION_BYTES: Final = 2000  #: what one costs beside its tensors (benchmarks/scale.py)
_SEEN: Final = 512
_ENOUGH: Final = 64
_FLOOR_S: Final = 0.01


class Stragglers:
    """How long to wait for late children; alive is which contributed to one of the last `alive_events` events."""

    def __init__(self, children: int, alive_events: int) -> None:
        self._last, self._closed, self._alive_events = [0] * children, 0, alive_events
        self._delays: deque[float] = deque(maxlen=_SEEN)

    @property
    def alive(self) -> list[bool]:
        """Per child; at start all are."""
        return [self._closed - last < self._alive_events for last in self._last]

    def complete(self, here: Iterable[int], *, everyone: bool) -> bool:
        """Whether no other child is to be waited for."""
        present = set(here)
        return all(child in present or not (everyone or alive) for child, alive in enumerate(self.alive))

    def closed(self, here: Iterable[int]) -> None:
        self._closed += 1
        for child in here:
            self._last[child] = self._closed

    def arrived(self, delay: float) -> None:
        """A contribution came `delay` seconds after its event's first."""
        if delay > 0:
            self._delays.append(delay)

    def late(self, child: int, delay: float) -> None:
        """A contribution came after its event was closed; its child lives."""
        self._last[child] = self._closed
        self._delays.append(delay)

    def timeout(self, cap: float) -> float:
        """Seconds to wait: twice the 99th percentile of what was seen, at least 10 ms, at most `cap`."""
        if len(self._delays) < _ENOUGH:
            return cap
        return float(min(cap, max(_FLOOR_S, 2 * np.quantile(self._delays, 0.99))))


@dataclass(frozen=True)
class Children:
    """Those below a tier, and what an event of all of them is."""

    places: Sequence[Place]  #: of each child, in the fusion
    width: int  #: places there are
    devices: Sequence[int]  #: all devices below
    event_bytes: int  #: what an event's tensors may grow to, when all have sent all
    patience: int = 1  #: times as long as the policy or the request says are children waited for


class Collector:
    """Joins contributions into events, which the engine decides, and holds them for late ones.

    Room for all of an event is kept from its first contribution on.
    """

    def __init__(
        self, children: Children, engine: Engine, control: PolicyControl, metrics: Metrics, settings: CollectorSettings
    ) -> None:
        self.children, self.stragglers = children, Stragglers(len(children.places), settings.alive_events)
        self._engine, self._control, self._metrics, self._settings = engine, control, metrics, settings
        most = settings.bytes // (children.event_bytes + len(children.places) * _CONTRIBUTION_BYTES)
        self._room = max(1, min(settings.events, most))
        self._open: dict[bytes, Event] = {}
        self._held: OrderedDict[bytes, Event] = OrderedDict()
        self._ready: list[Event] = []
        self._gave_up = False
        metrics.queue_depth.set_function(lambda: self.pending)

    @property
    def pending(self) -> int:
        return len(self._open)

    @property
    def held(self) -> int:
        return len(self._held)

    async def answer(self, parts: Sequence[tuple[bytes | None, Contribution]], options: RequestOptions) -> list[Answer]:
        """Take one child's contributions, answer a row each; a repeat changes nothing. Raise `Overloaded` when full."""
        if all(id is None for id, _ in parts):
            return await self._engine.answer([self._alone(part, options) for _, part in parts], options)
        reply = Reply(options, len(parts), parts[0][1].child)
        try:
            for row, (id, part) in enumerate(parts):
                assert id is not None, "either all rows of a request have an id, or none"
                self.offer(id, part, reply, row)
            answers = await reply.wait()
        except DDNNError:  # of another row
            reply.leave()
            raise
        finally:  # also where the caller has left: or no event goes on before it has heard
            for event in reply.events:
                self.delivered(event, reply.child)
        if reply.events:
            collected = (reply.complete if reply.complete >= reply.began else perf_counter()) - reply.began
            options.stages.append(Stage("collect", collected, reply.began))
        return answers

    def offer(self, id: bytes, part: Contribution, reply: Reply, row: int) -> None:
        """Add one contribution, whose answer goes to a row of `reply`."""
        now = asyncio.get_running_loop().time()
        self._forget(lambda oldest: now - oldest.held_since > self._settings.hold_s)
        if (held := self._held.get(id)) and held.answer:
            self.stragglers.late(part.child, now - held.opened)
            reply.give(row, replace(held.answer, bytes_up=0, need_features=False))
            return
        event = self._open.get(id)
        if event is None and part.second and not self._engine.draining:
            reply.give(row, self._control.nothing)
            return
        event = event or self._begin(id, reply.options, now)
        if part.answered:  # its caller has its answer
            event.deadline = max(event.deadline, reply.options.deadline)
            event.until = max(event.until, reply.until)
            self._add(event, part, now)
            reply.give(row, self._row(event))
            return
        event.wait_for(reply, row)
        if part.second:
            self._add_features(event, part)
        else:
            self._add(event, part, now)

    def ask(self, event: Event) -> None:
        """Ask the children that took part for features; the wait begins once the last of them has heard of it."""
        event.to(State.ASKING)
        if self._gave_up:
            event.degrade("draining")
            return
        waiting = {reply.child for reply, _ in event.replies}
        event.unheard = (event.contributions.keys() & waiting) - event.featured.keys()
        if event.unheard:
            self._start_timer(event, event.left() / 2, self._featured)
        else:
            self._wait_for_features(event)
        for child in list(event.unheard):
            event.tell(child, self._row(event, need_features=True))

    def delivered(self, event: Event, child: int) -> None:
        """The reply that asks `child` for its features is on its way."""
        if event.state is State.ASKING and child in event.unheard:
            event.unheard.discard(child)
            if not event.unheard:
                self._wait_for_features(event)

    def settled(self, event: Event) -> None:
        """Keep what was answered for late contributions; what failed begins anew when it is tried again."""
        assert event.id is not None
        self._open.pop(event.id, None)
        self._engine.settled(event)
        if event.answer and event.answer.label >= 0:
            event.hold()
            self._held[event.id] = event

    def failed(self, event: Event, error: Exception) -> None:
        """A section failed; its children answer with what they have."""
        event.degrade("error")

    def document(self) -> dict[str, Any]:
        return {"pending": self.pending, "held": self.held, "alive": self.stragglers.alive}

    def give_up(self) -> None:
        """Wait for no child any more, now and from now on: the drain is over."""
        self._gave_up = True
        for event in list(self._open.values()):
            if event.state is State.GATHERING:
                self._complete(event)

    def close(self) -> None:
        for event in self._open.values():
            event.stop_timer()

    def _alone(self, part: Contribution, options: RequestOptions) -> Event:
        event = Event(None, self._control.rule, options, {}, part.devices, self._control.nothing, self._engine)
        if len(part.present) == self.children.width:  # this child alone fills all places
            event.inputs = {**part.inputs, "present": part.present}
        else:
            _fill(event, {part.child: part}, self.children)
        return event

    def _begin(self, id: bytes, options: RequestOptions, now: float) -> Event:
        if self._engine.draining:
            raise self._engine.refused()
        self._make_room()
        nothing, policy = self._control.nothing, self._control.policy
        event = Event(
            id, self._control.rule, options, {}, nothing.devices, nothing, self, state=State.GATHERING, opened=now
        )
        event.deadline = options.deadline
        self._open[id] = event
        cap = self.children.patience * policy.wait_ms / 1000
        timeout = self.stragglers.timeout(cap) if policy.adaptive_wait else cap
        self._start_timer(event, self._asked(event, timeout), self._complete)
        return event

    def _add(self, event: Event, part: Contribution, now: float) -> None:
        if part.child in event.contributions:
            if event.state is State.ASKING and part.child not in event.featured:
                event.tell(part.child, self._row(event, need_features=True))
        elif event.state is not State.GATHERING:
            self.stragglers.late(part.child, now - event.opened)
        else:
            event.contributions[part.child] = part
            if "features" in part.inputs:
                event.featured[part.child] = part
            if len(event.contributions) > 1:
                self.stragglers.arrived(now - event.opened)
            everyone = event.options.wait_ms is not None
            if self.stragglers.complete(event.contributions, everyone=everyone):
                self._complete(event)

    def _add_features(self, event: Event, part: Contribution) -> None:
        if part.child not in event.contributions:
            event.tell(part.child, self._row(event))
        elif event.state is State.ASKING:
            event.featured.setdefault(part.child, part)
            if len(event.featured) == len(event.contributions):
                self._featured(event)

    def _complete(self, event: Event) -> None:
        self._go_on(event, event.contributions)
        self.stragglers.closed(event.contributions)
        self._metrics.gathered(event.devices, self.children.devices)

    def _featured(self, event: Event) -> None:
        if event.featured:
            self._go_on(event, event.featured)
        else:
            event.degrade("no_features")

    def _wait_for_features(self, event: Event) -> None:
        timeout = self._asked(event, event.rule.policy.wait_ms / 1000)
        self._start_timer(event, max(timeout, _ROUND_TRIP_S), self._featured)

    def _go_on(self, event: Event, parts: Mapping[int, Contribution]) -> None:
        """Hand the event on as `parts` make it, together with all that become complete in this turn of the loop."""
        event.stop_timer()
        _fill(event, parts, self.children)
        if event.unwanted:
            event.settle(replace(event.best, label=-1, degraded_reason="gone"))
            return
        event.to(State.DECIDING)
        self._ready.append(event)
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        ready, self._ready = [event for event in self._ready if event.state is State.DECIDING], []
        now = perf_counter()
        for event in ready:
            event.complete = now
            if event.left() <= 0:
                event.degrade("deadline")
            elif any(part.answered for part in event.contributions.values()):
                self._settle_by_child(event)
        self._engine.start([event for event in ready if event.state is State.DECIDING])

    def _settle_by_child(self, event: Event) -> None:
        """The surest child's answer, then the lowest index's, is the event's; nothing is fused."""
        judged = []
        for child, part in sorted(event.contributions.items()):
            if part.answered:
                policy = self._control.known(part.policy_version) or event.rule.policy
                scores, version = part.inputs["scores"], part.policy_version or policy.version
                at = policy.judging(part.answered, int(part.devices.sum())).temperatures.of(part.answered)
                p, uncertainty, labels = judge(scores, at, policy.criterion)
                u = float(uncertainty[0])
                answer = Answer(int(labels[0]), p[0], part.answered, 1 - u, part.devices, version)
                judged.append((u, child, answer, scores[0]))
        _, _, event.best, scores = min(judged, key=lambda each: each[:2])
        event.judged[event.best.exit] = scores
        if self._engine.offload and self._engine.offload.report:
            self._engine.offload.report([event])
        event.settle(event.best)

    def _start_timer(self, event: Event, seconds: float, then: Callable[[Event], None]) -> None:
        """Wait `seconds`, at most half of what is left, so that time remains to go up."""
        event.stop_timer()
        wait = max(0.0, min(seconds, event.left() / 2))
        event.timer = asyncio.get_running_loop().call_later(wait, then, event)

    def _asked(self, event: Event, seconds: float) -> float:
        return seconds if event.options.wait_ms is None else self.children.patience * event.options.wait_ms / 1000

    def _row(self, event: Event, *, need_features: bool = False) -> Answer:
        return replace(self._control.nothing, policy_version=event.rule.policy.version, need_features=need_features)

    def _make_room(self) -> None:
        self._forget(lambda oldest: self.pending + self.held >= self._settings.events)
        if self.pending >= self._room:
            self._metrics.shed.labels("collector").inc()
            raise Overloaded(f"{self.pending} events are waiting here already; expected fewer than that")

    def _forget(self, ripe: Callable[[Event], bool]) -> None:
        """Hold answered events no longer, the oldest first, while that is said of them."""
        while self._held and ripe(next(iter(self._held.values()))):
            self._held.popitem(last=False)[1].to(State.GONE)


def _fill(event: Event, parts: Mapping[int, Contribution], children: Children) -> None:
    """Spread what all of `parts` sent over the places of the fusion; those of absent children are masked out."""
    event.devices = np.logical_or.reduce([part.devices for part in parts.values()])
    if any(part.answered for part in parts.values()):
        return
    event.inputs["present"] = _spread({child: part.present for child, part in parts.items()}, children)
    for name in set.intersection(*(set(part.inputs) for part in parts.values())):
        event.inputs[name] = _spread({child: part.inputs[name] for child, part in parts.items()}, children)


def _spread(rows: Mapping[int, Array], children: Children) -> Array:
    first = next(iter(rows.values()))
    spread = np.zeros((children.width, *first.shape[1:]), first.dtype)
    if first.dtype == np.object_:
        spread[:] = first[0]  # nothing is no file: an absent child has another's, masked out
    for child, part in rows.items():
        spread[children.places[child]] = part
    return spread
