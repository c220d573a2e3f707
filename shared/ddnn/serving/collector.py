"""What joins the contributions of a tier's children into events: bounded in events, bytes and time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Final

from ddnn.errors import DDNNError, Overloaded
from ddnn.serving import claims
from ddnn.serving.asking import Asking, whom
from ddnn.serving.children import Children, Place, fill, fill_views
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine
from ddnn.serving.event import Contribution, Event, Reply, State
from ddnn.serving.held import Held, claim
from ddnn.serving.lateness import Lateness
from ddnn.serving.memory import CONTRIBUTIONS
from ddnn.serving.metrics import Metrics
from ddnn.serving.outliers import SetAside
from ddnn.serving.patience import Patience
from ddnn.serving.repeats import LONGEST_S, Repeat, Repeats
from ddnn.serving.request import RequestOptions, Stage
from ddnn.serving.shares import Shares
from ddnn.serving.stragglers import Stragglers
from ddnn.settings import CollectorSettings
from ddnn.types import Answer

__all__ = ["Children", "Collector", "Place"]

_ROUND_TRIP_S: Final = 0.1  # features that were asked for get this long to come, however short the straggler timeout is
_CONTRIBUTION_BYTES: Final = 2000  #: what one costs beside its tensors (benchmarks/scale.py)
_TICK_S: Final = 0.001  #: what is due within that is due now


class Collector:
    """Joins contributions into events, which the engine decides, and holds them for late ones.

    Room for all of an event is kept from its first contribution on.
    """

    outliers: SetAside | None = None  #: without, no child is set aside

    def __init__(
        self, children: Children, engine: Engine, control: PolicyControl, metrics: Metrics, settings: CollectorSettings
    ) -> None:
        self.children, self.stragglers = children, Stragglers(len(children.places), settings.alive_events)
        self._engine, self._control, self._metrics, self._settings = engine, control, metrics, settings
        most = (settings.bytes or CONTRIBUTIONS) // (children.event_bytes + len(children.places) * _CONTRIBUTION_BYTES)
        self._places = Shares(max(1, min(settings.events, most)))
        self._open: dict[bytes, Event] = {}
        self._held, self._repeats = Held(settings.hold_s), Repeats()
        self._left: dict[Event, None] = {}  # those that no caller waits for any more, in that order
        self._asking, self._patience = Asking(self._row), Patience(children.patience)
        self._asked = self._asking.events
        carried = engine.offload.carries if engine.offload else ()
        self._fused = {name for step in engine.steps for name in step.needs}.union(carried)
        self._ready: list[Event] = []
        self._gave_up = False
        self.began_elsewhere: Callable[[bytes], bool] = lambda id: False  #: under another bundle, which it ends in
        metrics.queue_depth.set_function(lambda: self.pending)
        self.lateness = Lateness(children, metrics, settings.events, settings.hold_s)

    @property
    def pending(self) -> int:
        return len(self._open)

    @property
    def held(self) -> int:
        return len(self._held)

    def has(self, id: bytes) -> bool:
        """Whether an event with this id waits, is worked on or is held here, and not to begin anew elsewhere."""
        held = self._held.get(id)
        return id in self._open or (held is not None and held.best.degraded_reason != "other_bundle")

    async def answer(self, parts: Sequence[tuple[bytes | None, Contribution]], options: RequestOptions) -> list[Answer]:
        """Take one child's contributions, answer a row each.

        Raise `Overloaded` without places for all of them, `Unavailable` when draining: then none of them is taken.
        """
        if all(id is None for id, _ in parts):
            return await self._engine.answer([self._alone(part, options) for _, part in parts], options)
        reply = Reply(options, len(parts), parts[0][1].child)
        self._held.forget_old()
        taken = [(row, id, part) for row, (id, part) in enumerate(parts) if id and not self._give(id, part, reply, row)]
        try:
            self._make_room(options.caller, [(id, part) for _, id, part in taken])
            for each in taken:
                self._take(reply, *each)
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
        """Add one contribution, whose answer goes to a row of `reply`; a repeat changes nothing.

        What is none, as this child or another says something else, is of another event, or refused before the answer.
        """
        self._held.forget_old()
        if not self._give(id, part, reply, row):
            self._make_room(reply.options.caller, [(id, part)])
            self._take(reply, row, id, part)

    def _give(self, id: bytes, part: Contribution, reply: Reply, row: int) -> bool:
        """Give a repeat, or what comes late, the answer that is held; whether it is one."""
        if not part.second:
            if id not in self._open and self.began_elsewhere(id):
                reply.give(row, replace(self._control.nothing, degraded_reason="other_bundle"))
                return True
            self.lateness.came(id, part.child)
        now = asyncio.get_running_loop().time()
        held = None if part.second and (id, part.child) in self._asked else self._held.get(id)
        claimed = claim(held, part, now, self._settings.late_s) if held else None
        if held is None or claimed is None or (claimed == "repeat" and id in self._open):
            self._metrics.reused.labels("new_event").inc(held is not None and not part.second)
            return False
        give = partial(reply.give, row, replace(held.best, bytes_up=0, need_features=False), late=held.late)
        if claimed == "late":
            held.contents[part.child] = part.content
            self.stragglers.arrived(part.child, now - held.opened, now)
        wait_s = min(self.children.patience * self._control.policy.wait_ms / 1000, LONGEST_S)
        if claimed == "repeat":
            self._repeats.wait(Repeat(reply, row, id, part), self.stragglers.timeout(wait_s), give)
        else:
            give()
        return True

    def _take(self, reply: Reply, row: int, id: bytes, part: Contribution) -> None:
        """Add one contribution to its event; where that is new, there is room for it, and repeats were of this one."""
        begins = not part.second and id not in self._open
        self._add_to_event(reply, row, id, part)
        for each in self._repeats.begun(id) if begins else ():
            self._metrics.reused.labels("new_event").inc()
            self._add_to_event(each.reply, each.row, id, each.part)

    def _add_to_event(self, reply: Reply, row: int, id: bytes, part: Contribution) -> None:
        now = asyncio.get_running_loop().time()
        event = (self._asked.get((id, part.child)) if part.second else None) or self._open.get(id)
        if event is None and part.second:
            reply.give(row, self._control.nothing)
            return
        event = event or self._begin(id, reply.options, now)
        if not part.second and event.closed_without(part.child) and not self.stragglers.witnessed(event.contributions):
            event = self._open[id] = event.gather_on(self._control.nothing)
        said = part.content
        if not part.second and event.contents.get(part.child, said) != said:
            self._metrics.reused.labels("refused").inc()
            reply.give(row, replace(self._row(event), degraded_reason="reused"))
            return
        if part.answered:  # its caller has its answer
            event.deadline = max(event.deadline, reply.options.deadline)
            event.until = max(event.until, reply.until)
            self._add(event, claims.checked(event.rule, part, self._fused, self._metrics), said, now)
            reply.give(row, self._row(event))
            return
        event.wait_for(reply, row)
        if part.second:
            self._add_features(event, id, part)
            return
        self._add(event, part, said, now)
        if event.state is State.GATHERING and (not event.timer or self._patience.due(event, reply) < event.due):
            self._look_later(event)

    def ask(self, event: Event, what: str = "features") -> None:
        """Ask the children that took part for a level; the wait begins once the last of them has heard of it."""
        event.to(State.ASKING)
        if self._gave_up:
            event.degrade("draining")
            return
        if event.wanted != what:
            self._asking.forget(event)
            event.wanted, event.featured = what, {}
        waiting = {reply.child for reply, _ in event.replies}
        unfeatured = whom(event, event.contributions.keys() & waiting, self.children) - event.featured.keys()
        if not unfeatured:
            self._featured(event)
            return
        self._start_timer(event, event.left() / 2, self._featured)
        for child in (event.contributions.keys() & waiting) - event.featured.keys() - unfeatured:
            self._asking.spare(event, child)
        for child in unfeatured:
            self._asking.ask(event, child)

    def delivered(self, event: Event, child: int) -> None:
        """The reply that asks `child` for its features is on its way."""
        if event.state is State.ASKING and child in event.unheard:
            event.unheard.discard(child)
            if not event.unheard:
                self._start_timer(event, max(event.rule.policy.wait_ms / 1000, _ROUND_TRIP_S), self._featured)
        elif event.state is State.GATHERING and not event.replies:  # or it would be looked at when that is due
            self._left[event] = None
            self._look_later(event)

    def settled(self, event: Event) -> None:
        """Keep what was answered for late contributions; what failed begins anew when it is tried again."""
        self._asking.forget(event)
        self._engine.settled(event)
        if event.parted_from:
            return
        assert event.id is not None
        del self._open[event.id]
        self._places.give(event.options.caller)
        self._left.pop(event, None)
        if event.answer and event.answer.label >= 0:
            if self.outliers:
                self.outliers.note(event)
            event.shared = not event.swayed and self.stragglers.witnessed(event.contributions)
            self._held.keep(event.id, event)

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
        self._repeats.close()
        for event in self._open.values():
            event.stop_timer()

    def _alone(self, part: Contribution, options: RequestOptions) -> Event:
        event = Event(None, self._control.rule, options, {}, part.devices, self._control.nothing, self._engine)
        if len(part.present) == self.children.width:  # this child alone fills all places
            event.inputs = {**part.inputs, "present": part.present}
        else:
            fill(event, {part.child: part}, self.children)
        return event

    def _begin(self, id: bytes, options: RequestOptions, now: float) -> Event:
        self._places.take(options.caller)
        nothing, policy, own = self._control.nothing, self._control.policy, options.of_event()
        event = Event(id, self._control.rule, own, {}, nothing.devices, nothing, self, state=State.GATHERING)
        event.opened, event.deadline = now, options.deadline
        self._open[id] = event
        cap = self.children.patience * policy.wait_ms / 1000
        event.wait_s = self.stragglers.timeout(cap) if policy.adaptive_wait else cap
        return event

    def _add(self, event: Event, part: Contribution, said: int, now: float) -> None:
        if part.child in event.contributions:
            waits = any(reply.child == part.child for reply, _ in event.replies)
            wanted = event.wanted != "view" or part.child in event.asked
            if event.state is State.ASKING and part.child not in event.featured and waits and wanted:
                self._asking.ask(event, part.child)
            return
        if event.state is not State.GATHERING:
            if part.child not in event.contents:
                self.stragglers.arrived(part.child, now - event.opened, now)
            event.contents[part.child] = said
            return
        event.contributions[part.child] = part
        event.contents[part.child] = said
        if "features" in part.inputs:
            event.featured[part.child] = part
        self.stragglers.arrived(part.child, now - event.opened if len(event.contributions) > 1 else 0.0, now)
        if len(event.contributions) == len(self.children.places):
            self._complete(event)
        elif self.stragglers.complete(event.contributions):
            self._look(event, living=True)
        elif not event.timer:
            self._look_later(event)

    def _add_features(self, event: Event, id: bytes, part: Contribution) -> None:
        if part.child not in event.contributions:
            event.tell(part.child, self._row(event))
            return
        for each in filter(None, (event, self._open.get(id))):  # parted events have what is sent once
            if each.state not in (State.GATHERING, State.ASKING) or part.child not in each.contributions:
                continue
            if each.wanted in part.inputs:
                each.featured.setdefault(part.child, part)
            elif part.child not in each.asked:
                continue
            elif part.inputs:  # the level before, which has come late
                self._asking.ask(each, part.child)
                continue
            else:  # it no longer has it
                each.asked.discard(part.child)
            if each.state is State.ASKING and each.asked <= each.featured.keys():
                self._featured(each)

    def _look_later(self, event: Event) -> None:
        """Look at an event when the first of its callers has waited; without one, when others need not be expected."""
        due = min((self._patience.due(event, reply) for reply, _ in event.replies), default=event.opened + event.wait_s)
        event.stop_timer()
        event.due = due  # uvloop's timers that are due at once do not say when they are
        event.timer = asyncio.get_running_loop().call_at(due, self._look, event)

    def _look(self, event: Event, *, living: bool = False) -> None:
        """Go on with an event for its callers that have waited, or for all; `living`: every living child is here."""
        now = asyncio.get_running_loop().time() + _TICK_S
        if not living and self._patience.behind(event, now):
            event.timer = asyncio.get_running_loop().call_later(_TICK_S, self._look, event)
            event.due = now
            return
        due = [waiting for waiting in event.replies if self._patience.due(event, waiting[0]) <= now]
        if living:
            due += [each for each in event.replies if each not in due and each[0].options.wait_ms is None]
        elif due:  # with those whose patience is alike, and half over: one event instead of several
            due = self._patience.alike(event, due, now)
        if len(due) == len(event.replies) and (living or now >= event.opened + event.wait_s):
            self._complete(event)
            return
        if due:
            parted = event.part(due)
            parted.late = self.lateness.away(event, self.stragglers.alive)
            self._go_on(parted, parted.contributions)
        self._look_later(event)

    def _complete(self, event: Event) -> None:
        event.late = self.lateness.closed(event, self.stragglers.alive)
        came = {*event.contributions}
        if self.outliers:
            self.outliers.leave_out(event)
        self._go_on(event, event.contributions)
        self.stragglers.closed(came, event.opened, asyncio.get_running_loop().time())
        self._metrics.gathered(event.devices, self.children.devices)

    def _featured(self, event: Event) -> None:
        if event.featured:
            self._go_on(event, event.featured)
        else:
            event.degrade("no_views" if event.wanted == "view" else "no_features")

    def _go_on(self, event: Event, parts: Mapping[int, Contribution]) -> None:
        """Hand the event on as `parts` make it, together with all that become complete in this turn of the loop."""
        event.stop_timer()
        (fill_views if event.state is State.ASKING and event.wanted == "view" else fill)(event, parts, self.children)
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
            elif event.aside and not event.contributions:
                event.degrade("outlier")
            elif any(part.answered for part in event.contributions.values()):
                self._settle_by_child(event)
        self._engine.start([event for event in ready if event.state is State.DECIDING])

    def _settle_by_child(self, event: Event) -> None:
        """The surest child's answer, then the lowest index's, is the event's; nothing is fused."""
        event.best, scores = claims.surest(event.rule, event.contributions)
        event.judged[event.best.exit] = scores
        if self._engine.offload and self._engine.offload.report:
            self._engine.offload.report([event])
        event.settle(event.best)

    def _start_timer(self, event: Event, seconds: float, then: Callable[[Event], None]) -> None:
        """Wait `seconds`, at most half of what is left, so that time remains to go up."""
        event.stop_timer()
        wait = max(0.0, min(seconds, event.left() / 2))
        event.timer = asyncio.get_running_loop().call_later(wait, then, event)

    def _row(self, event: Event, *, need_features: bool = False) -> Answer:
        return replace(self._control.nothing, policy_version=event.rule.policy.version, need_features=need_features)

    def _make_room(self, caller: str, parts: Sequence[tuple[bytes, Contribution]]) -> None:
        """Find places for all new events, for which what is abandoned makes room, or raise and take none."""
        known = (id in self._open or (part.second and (id, part.child) in self._asked) for id, part in parts)
        if self._engine.draining and not all(known):
            raise self._engine.refused()
        new = sum(id not in self._open and not part.second for id, part in parts)
        while new and self._left and not self._places.fits(caller, new):
            event = next(iter(self._left))
            del self._left[event]
            if event.state is State.GATHERING and event.unwanted:
                event.settle(replace(event.best, label=-1, degraded_reason="gone"))
        if new and not self._places.fits(caller, new):
            self._metrics.shed.labels("collector").inc()
            held = f"{self.pending} events are waiting here already, {self._places.of(caller)} of them this caller's"
            raise Overloaded(f"{held}, and {new} more would be; expected fewer")
        self._held.shrink(self._settings.events - self.pending - new)
