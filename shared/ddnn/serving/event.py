"""One event at one tier: a state machine, which moves on one event loop and along the table `TRANSITIONS` only."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import perf_counter
from typing import Final, Protocol

import numpy as np

from ddnn.exits import Rule
from ddnn.serving.request import RequestOptions, Stage, reserve
from ddnn.types import Answer, Array, Bools, Exit, Floats

__all__ = ["NEXT", "TRANSITIONS", "Charge", "Contribution", "Event", "Flight", "Holder", "Reply", "State", "no_answer"]


class State(StrEnum):
    """Where an event stands."""

    GATHERING = "gathering"  #: its children's contributions are awaited; only at a tier that joins, with an event id
    DECIDING = "deciding"  #: it waits for a section, or is in it
    ASKING = "asking"  #: features, or views, are awaited of children that took part
    OFFLOADED = "offloaded"  #: it is on its way to the tier above and back
    ANSWERED = "answered"  #: it has its answer, and every reply has been given
    HELD = "held"  #: answered, and kept for late contributions
    GONE = "gone"  #: kept no longer


# State, next state, what moves the event on, by whom, with which deadline.
TRANSITIONS: Final[tuple[tuple[State, State, str, str, str], ...]] = (
    (State.GATHERING, State.DECIDING, "every living child contributed; with `wait_ms`, every child", "collector", ""),
    (State.GATHERING, State.DECIDING, "the straggler timeout passed", "timer", "straggler timeout"),
    (State.GATHERING, State.DECIDING, "the drain is over", "service", "`DDNN_DRAIN_S`"),
    (State.GATHERING, State.ANSWERED, "complete, and its callers have left: `gone`", "collector", ""),
    (State.GATHERING, State.ANSWERED, "its callers have left, and its room is needed: `gone`", "collector", ""),
    (State.DECIDING, State.ANSWERED, "an exit here is sure, or a child was; `max_exit` is reached", "engine", ""),
    (State.DECIDING, State.ASKING, "unsure, and features or views are missing for what comes next", "engine", ""),
    (State.DECIDING, State.OFFLOADED, "unsure at the last exit here, or there is none", "engine", ""),
    (State.DECIDING, State.ANSWERED, "`no_upstream`, `no_features`, `budget`, `error`", "engine", ""),
    (State.DECIDING, State.ANSWERED, "`deadline`, or it will have passed after the section", "queue", "own"),
    (State.DECIDING, State.ANSWERED, "the last caller has left: `gone`", "caller", ""),
    (State.ASKING, State.DECIDING, "those of all that were asked came", "collector", ""),
    (State.ASKING, State.DECIDING, "the feature timeout passed, with those that came", "timer", "feature timeout"),
    (State.ASKING, State.ANSWERED, "it passed, and none came: `no_features`, `no_views`", "timer", "feature timeout"),
    (State.ASKING, State.ANSWERED, "it passed, and the callers have left: `gone`", "timer", "feature timeout"),
    (State.ASKING, State.ANSWERED, "the drain is over: `draining`", "service", "`DDNN_DRAIN_S`"),
    (State.OFFLOADED, State.ANSWERED, "an answer from above, or the reason why there is none", "offload", "upward"),
    (State.OFFLOADED, State.ANSWERED, "`deadline`", "reply", "own"),
    (State.OFFLOADED, State.ANSWERED, "the drain is over: `draining`", "service", "`DDNN_DRAIN_S`"),
    (State.OFFLOADED, State.ANSWERED, "the last caller has left: `gone`", "caller", ""),
    (State.ANSWERED, State.HELD, "it has an id, and its answer a label", "collector", ""),
    (State.HELD, State.GONE, "it is old, or its room is needed", "collector", "`DDNN_COLLECTOR__HOLD_S`"),
)
NEXT: Final = {state: frozenset(next for here, next, *_ in TRANSITIONS if here is state) for state in State}

_NO_OPTIONS: Final = RequestOptions(0.0)  #: of an answered event, for which nothing is decided any more
_WORKED_ON: Final = frozenset({State.DECIDING, State.OFFLOADED})


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one child of this tier sends for one event; a child has one place in this tier's fusion, or several."""

    child: int  #: its number among the children
    inputs: dict[str, Array]  #: `scores`, packed `features` or `view`, a row each of its places
    present: Bools  #: a flag each of its places
    devices: Bools  #: [D], who took part
    answered: Exit | None = None  #: where the child was sure: its caller has that answer
    policy_version: int | None = None  #: the child's policy where it was sure, if it said so
    second: bool = False  #: what was asked for; without inputs, the child no longer has it

    @property
    def content(self) -> int:
        """Tells what the child says from anything else it might say, for the life of this process."""
        name = "scores" if "scores" in self.inputs else next(iter(self.inputs), "")
        if not name:
            return 0
        rows = self.inputs[name]
        return hash((name, tuple(rows.ravel().tolist()) if rows.dtype == np.object_ else rows.tobytes()))


class Reply:
    """What one request waits for: an answer a row, each from its event or at once, all by the request's deadline."""

    def __init__(self, options: RequestOptions, rows: int, child: int = 0) -> None:
        """`child` is the number of the child that asks, among those of this tier."""
        self.options, self.child, self.began = options, child, perf_counter()
        self.came = asyncio.get_running_loop().time()  # by which it waits
        self.until = options.deadline - reserve(options.deadline - self.came) / 2
        """Loop time at which events that are not answered give the best they have."""
        self.events: list[Event] = []  # those that it has waited for
        self.left = False  # whether its caller has
        self.complete = 0.0  # when the last of them had all its contributions; 0 where none has waited
        self._answers: list[Answer | None] = [None] * rows
        self._missing = rows
        self._over: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._timed: list[tuple[list[Stage], list[str]]] = []

    def give(self, row: int, answer: Answer, event: "Event | None" = None, *, late: tuple[int, ...] = ()) -> None:
        """Answer a row, once; `event` is the one that has waited, `late` whom it has not waited for."""
        assert self._answers[row] is None, "a row is answered once"
        late = event.late if event else late
        self._answers[row] = answer.without(late) if late else answer
        if event:
            self._timed.append((event.stages, event.upper_timings))
            self.complete = max(self.complete, event.complete)
        self._missing -= 1
        if not self._missing and self._over and not self._over.done():
            self._over.set_result(None)

    def fail(self, error: Exception) -> None:
        self._error = error
        if self._over and not self._over.done():
            self._over.set_result(None)

    def patience(self, wait_s: float, times: int = 1) -> float:
        """Seconds that it waits for children where that is usually `wait_s`: half of its own time at most.

        What its `wait_ms` says counts so many times.
        """
        asked = self.options.wait_ms
        wait = wait_s if asked is None else times * asked / 1000
        return max(0.0, min(wait, (self.options.deadline - self.came) / 2))

    async def wait(self) -> list[Answer]:
        """All answers; raise what a section raised. Where the caller leaves, its events know."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(self.until, self._expire) if self._missing else None
        try:
            if self._missing and not self._error:
                self._over = loop.create_future()
                await self._over
            if self._error:
                raise self._error
        except BaseException:
            self.leave()
            raise
        finally:
            if timer:
                timer.cancel()
        # Where the time of its events went since it came; what several went through together counts once.
        stages = {(stage.name, stage.began): stage for staged, _ in self._timed for stage in staged}
        self.options.stages += [stage for stage in stages.values() if stage.began >= self.began]
        self.options.upper_timings += dict.fromkeys(text for _, texts in self._timed for text in texts)
        return [answer for answer in self._answers if answer is not None]

    def leave(self) -> None:
        self.left = True
        for event in self.events:
            event.forget(self)

    def _expire(self) -> None:
        for event in self.events:
            self.options.late += event.expire(self)


@dataclass(eq=False, slots=True)
class Flight:
    """Events that go up in one request, and the task that works on it, which ends with the last of them."""

    open: int  #: of its events are not answered
    task: asyncio.Task[None] | None = None

    def landed(self) -> None:
        self.open -= 1
        if not self.open and self.task and self.task is not asyncio.current_task():
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class Charge:
    """What an event that goes up is expected to cost, and who pays (`ddnn.serving.budget`)."""

    payers: tuple[str, ...]  #: accounts that share it, besides the site's
    size: float  #: bytes
    seconds: float  #: of the cloud's section


class Holder(Protocol):
    """What holds open events: the engine those of one caller, the collector those that are joined."""

    def ask(self, event: "Event", what: str) -> None:
        """Features, or views, are missing."""

    def settled(self, event: "Event") -> None:
        """The event has its answer."""

    def failed(self, event: "Event", error: Exception) -> None:
        """A section failed."""


@dataclass(eq=False, slots=True)
class Event:
    """One event at one tier."""

    id: bytes | None  #: event id, or None for an event of its own
    rule: Rule  #: the policy that was in force when the event arrived, as its exits apply it
    options: RequestOptions  #: of its one request; of a collected event no more than how to trace it
    inputs: dict[str, Array]  #: `view`, packed `features`; over n places also `scores` (n, K), `present` (n,)
    devices: Bools  #: [D], who takes part
    best: Answer  #: what the highest exit so far would answer; to begin with, that there is no answer
    holder: Holder
    reached: int = -1  #: rank of that exit; -1 before the first
    state: State = State.DECIDING
    step: int = 0  #: what comes next: a section of this tier by its number, or one more than there are: the tier above
    answer: Answer | None = None  #: once there is one
    replies: list[tuple[Reply, int]] = field(default_factory=list)  #: those that wait, each with its row
    deadline: float = 0.0  #: loop time by which the most patient caller must have the answer
    until: float = 0.0  #: loop time by which this tier gives that caller what there is
    opened: float = 0.0  #: loop time of the first contribution
    wait_s: float = 0.0  #: the straggler timeout that was in force then
    held_since: float = 0.0  #: loop time of its answer
    contributions: dict[int, Contribution] = field(default_factory=dict)  #: each child's first
    aside: dict[int, Contribution] = field(default_factory=dict)  #: of children that are left out of the fusion
    contents: dict[int, int] = field(default_factory=dict)  #: what each child has said, those that came late too
    wanted: str = "features"  #: the level that children are asked for: `features`, then `view`
    featured: dict[int, Contribution] = field(default_factory=dict)  #: of each child, what has that
    asked: set[int] = field(default_factory=set)  #: children that are asked for it
    spared: set[int] = field(default_factory=set)  #: children that are not, and have heard that they only wait
    unheard: set[int] = field(default_factory=set)  #: of those which have not heard of it yet
    parted_from: "Event | None" = None  #: the event with the id, which goes on for others
    shared: bool = False  #: once held, whether children that took no part are given its answer
    late: tuple[int, ...] = ()  #: devices that live and had not come when it was closed
    swayed: bool = False  #: whether it was answered, or went on, as its callers' own terms say and not as the policy
    timer: asyncio.TimerHandle | None = None  #: the straggler timeout, or that of features
    due: float = 0.0  #: loop time of the next look at a gathering event
    flight: Flight | None = None  #: the request upward that it is part of
    charge: Charge | None = None  #: what it is expected to cost up there, until that is known
    judged: dict[Exit, Floats] = field(default_factory=dict)  #: (K,) scores of each exit
    bytes_up: int = 0  #: payload bytes this tier has sent up for the event
    since: float = 0.0  #: since when it waits for its section or for the tier above, by `time.perf_counter`
    complete: float = 0.0  #: when all that it was collected from was there, by `time.perf_counter`; 0 before that
    stages: list[Stage] = field(default_factory=list)  #: where its time went
    upper_timings: list[str] = field(default_factory=list)  #: `Server-Timing` of the tiers above, as it came

    def to(self, state: State) -> None:
        assert state in NEXT[self.state], f"event {self.id!r}: there is no way from {self.state} to {state}"
        self.state = state

    @property
    def unwanted(self) -> bool:
        """Whether no caller waits, and no child was sure, of which other tiers may have to hear."""
        sure = not self.parted_from and any(part.answered for part in self.contributions.values())
        return not self.replies and not sure

    @property
    def whole(self) -> "Event":
        """The event that has the id under which children know this one."""
        return self.parted_from.whole if self.parted_from else self

    def closed_without(self, child: int) -> bool:
        return self.state is not State.GATHERING and child not in self.contributions and child not in self.aside

    @property
    def wait_ms(self) -> float | None:
        """How long its callers want children to be waited for, if all say so."""
        asked = [reply.options.wait_ms for reply, _ in self.replies]
        return max((ms for ms in asked if ms is not None), default=None) if None not in asked else None

    def left(self) -> float:
        """Seconds until the deadline of the most patient caller."""
        return self.deadline - asyncio.get_running_loop().time()

    def wait_for(self, reply: Reply, row: int) -> None:
        """`reply` waits for this event's answer in its `row`."""
        reply.events.append(self)
        self.replies.append((reply, row))
        self.deadline = max(self.deadline, reply.options.deadline)
        self.until = max(self.until, reply.until)

    def part(self, leaving: Sequence[tuple[Reply, int]]) -> "Event":
        """The same event for those of its callers that are `leaving`, which goes its own way, without an id."""
        copy = replace(
            self,
            id=None,
            parted_from=self.parted_from or self,
            inputs=dict(self.inputs),
            replies=[],
            contributions=dict(self.contributions),
            aside=dict(self.aside),
            featured=dict(self.featured),
            judged=dict(self.judged),
            stages=list(self.stages),
            asked=set(),
            spared=set(),
            unheard=set(),
            timer=None,
            deadline=0.0,
            until=0.0,
        )
        self.replies = [waiting for waiting in self.replies if waiting not in leaving]
        for reply, row in leaving:
            copy.wait_for(reply, row)
        return copy

    def gather_on(self, nothing: Answer) -> "Event":
        """The same event, which gathers on for others; this one goes on as if it had parted, with its id above only."""
        on = Event(self.id, self.rule, self.options, {}, nothing.devices, nothing, self.holder, state=State.GATHERING)
        on.opened, on.wait_s, on.contents = self.opened, self.wait_s, dict(self.contents)
        on.contributions = self.contributions | self.aside
        on.featured = dict(self.featured) if self.wanted == "features" else {}
        self.parted_from, self.id = on, self.id if self.state is State.OFFLOADED else None
        return on

    def give_best(self, leaving: Sequence[tuple[Reply, int]]) -> None:
        """Answer those of its callers that want nothing better; the event goes on for the others."""
        self.replies = [waiting for waiting in self.replies if waiting not in leaving]
        for reply, row in leaving:
            reply.give(row, self.best, self)

    def forget(self, reply: Reply) -> None:
        """The caller of `reply` has left; unwanted, it goes no further once it is worked on."""
        self.replies = [waiting for waiting in self.replies if waiting[0] is not reply]
        if self.state in _WORKED_ON and self.unwanted:
            self.settle(replace(self.best, label=-1, degraded_reason="gone"))

    def expire(self, reply: Reply) -> bool:
        """The time of `reply` is over: it gets the best there is; whether it was still waiting."""
        mine = [row for waiting, row in self.replies if waiting is reply]
        if mine and len(mine) == len(self.replies) and self.state in _WORKED_ON:
            self.degrade("deadline")
        elif mine:
            self.replies = [waiting for waiting in self.replies if waiting[0] is not reply]
            reply.give(mine[0], replace(self.best, degraded=True, degraded_reason="deadline"), self)
        return bool(mine)

    def tell(self, child: int, answer: Answer) -> None:
        """Reply to one child, while the event goes on."""
        waiting, self.replies = self.replies, [waiting for waiting in self.replies if waiting[0].child != child]
        for reply, row in waiting:
            if reply.child == child:
                reply.give(row, answer, self)

    def settle(self, answer: Answer) -> None:
        """Give the event its answer, and every reply its share of the bytes that were sent up."""
        if self.state is State.OFFLOADED:
            self.stages.append(Stage("uplink", perf_counter() - self.since, self.since))
        self.to(State.ANSWERED)
        self.answer = replace(answer, bytes_up=answer.bytes_up + self.bytes_up) if self.bytes_up else answer
        if self.timer:
            self.stop_timer()
        if self.flight:
            self.flight.landed()
        replies, self.replies = self.replies, []
        waiting = {reply.child for reply, _ in replies}
        sharing = sorted(waiting & self.contributions.keys() or waiting)
        for reply, row in replies:
            reply.give(row, self._share(reply.child, sharing), self)
        self.holder.settled(self)

    def degrade(self, reason: str) -> None:
        """Answer with the best exit reached, and say why it is not a better one."""
        self.settle(replace(self.best, degraded=True, degraded_reason=reason))

    def fail(self, error: Exception) -> None:
        self.to(State.ANSWERED)
        replies, self.replies = self.replies, []
        for reply, _ in replies:
            reply.fail(error)

    def hold(self) -> None:
        """Keep the answer, and nothing else."""
        self.to(State.HELD)
        self.held_since = asyncio.get_running_loop().time()
        # Replies and the ledger still refer to what was here: another takes its place, and nothing is cleared.
        self.inputs, self.contributions, self.featured, self.stages, self.judged = {}, {}, {}, [], {}
        self.best, self.options, self.upper_timings = self.answer or self.best, _NO_OPTIONS, []
        self.asked, self.spared, self.unheard = set(), set(), set()

    def stop_timer(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None

    def audit(self, *, to: Holder) -> "Event":
        """The same event once more and without an id, on its way to the cloud however sure an exit is."""
        options = self.options.of_audit()
        copy = Event(None, self.rule, options, dict(self.inputs), self.devices, self.best, to, self.reached)
        copy.judged, copy.step, copy.parted_from = self.judged, self.step, self.parted_from or self
        copy.deadline = copy.until = options.deadline
        return copy

    def _share(self, child: int, sharing: Sequence[int]) -> Answer:
        """The answer for one child: its share of the bytes that were sent up, all of which those that wait share."""
        assert self.answer
        if not self.answer.bytes_up or not self.contributions:
            return self.answer
        if child not in sharing:
            return replace(self.answer, bytes_up=0)
        whole, rest = divmod(self.answer.bytes_up, len(sharing))
        return replace(self.answer, bytes_up=whole + (sharing.index(child) < rest))


def no_answer(classes: int, devices: int, version: int) -> Answer:
    """A row that is not an answer, under the policy of that version."""
    absent, exit = np.zeros(devices, np.bool_), Exit.LOCAL  # a row has one; without a label it means nothing
    return Answer(-1, np.zeros(classes, np.float32), exit, 0.0, absent, version)
