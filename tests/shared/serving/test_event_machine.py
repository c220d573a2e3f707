"""Events as a machine: random contributions, deadlines, losses, answers, leaving callers and a drain.

An edge runs on a loop whose clock moves only when all wait; its sections and the tier above are
made up. Whatever happens, every request is answered once and in time, and nothing is left behind.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ddnn.codec import codec_of, payload_of
from ddnn.policy import Policy, Thresholds
from ddnn.runtime import Section
from ddnn.serving.batching import SectionQueue
from ddnn.serving.collector import Children, Collector
from ddnn.serving.control import PolicyControl
from ddnn.serving.engine import Engine, Step
from ddnn.serving.event import NEXT, Contribution, Event, State
from ddnn.serving.metrics import Metrics
from ddnn.serving.request import RequestOptions
from ddnn.settings import CollectorSettings
from ddnn.types import Answer, Array, Exit
from ddnn.uplink import NoReply, Uplink
from ddnn_edge.offload import ToCloud, ToJoiningCloud
from event_bench import Loop

DEVICES, CLASSES, BYTES = 3, 4, 5
IDS = [b"a", b"b", b"c"]
HOLD_S = 5.0
LONGEST_S = 40.0


class Fused:
    """A section: the mean of what is there; the edge's gives features too. It may fail."""

    outputs, at_once = ("scores",), 1

    def __init__(self, name: str) -> None:
        self.inputs = (name, "present")
        self.broken = False

    def run(self, **inputs: Array) -> dict[str, Array]:
        if self.broken:
            raise RuntimeError("out of memory")
        values = inputs[self.inputs[0]].astype(np.float32)[..., :CLASSES].mean(axis=1)
        if self.inputs[0] == "scores":
            return {"scores": values}
        return {"scores": values, "features": np.zeros((len(values), BYTES), np.uint8)}


class Above:
    """The uplink: the machine says what becomes of each request; the deadline is kept, as by the real one."""

    round_trip_ms = 10.0
    home = staticmethod(lambda key: ())

    def __init__(self) -> None:
        self.open: list[tuple[asyncio.Future[Any], int]] = []
        self.reports: set[asyncio.Future[Any]] = set()
        self.payload = 0
        self.in_time = True

    def can_answer(self, left: float, key: bytes | None = None) -> bool:
        return self.in_time

    async def infer(self, inputs: dict[str, Array], *, deadline_ms: float, **_: Any) -> Any:
        rows = len(next(iter(inputs.values())))
        self.payload += payload_of(inputs) * rows
        future = asyncio.get_running_loop().create_future()
        self.open.append((future, rows))
        if "answered" in inputs:
            self.reports.add(future)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                return await future
        except TimeoutError:
            raise NoReply("timeout", "no answer") from None
        finally:
            self.open.remove((future, rows))

    def waited_for(self) -> list[asyncio.Future[Any]]:
        """Requests that are no reports."""
        return [future for future, _ in self.open if future not in self.reports]


@dataclass
class Call:
    """One request of a child."""

    child: int
    ids: Sequence[bytes | None]
    deadline: float
    task: asyncio.Task[list[Answer]]
    ended: list[float]


class Events(RuleBasedStateMachine):
    """An edge with three devices."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.moves: Counter[tuple[State, State]] = Counter()
        self.answered: Counter[int] = Counter()
        self.events: list[Event] = []
        self.calls: list[Call] = []
        self.asked: list[tuple[int, bytes]] = []
        self.drained = False
        self.patch = pytest.MonkeyPatch()
        self._watch()

    def _watch(self) -> None:
        """See every event that is made, every move, and how answers are shared out."""
        machine, to, settle, init = self, Event.to, Event.settle, Event.__init__

        def made(event: Event, *args: Any, **kwargs: Any) -> None:
            init(event, *args, **kwargs)
            machine.events.append(event)

        def moved(event: Event, state: State) -> None:
            assert state in NEXT[event.state]
            if state is State.DECIDING:
                assert not event.unwanted, "what no caller waits for goes no further"
            machine.moves[event.state, state] += 1
            to(event, state)

        def settled(event: Event, answer: Answer) -> None:
            machine.answered[id(event)] += 1
            replies, parts = list(event.replies), set(event.contributions)
            settle(event, answer)
            assert event.answer
            rows = {reply.child: reply._answers[row] for reply, row in replies if reply.child in parts}
            if rows:
                shares = [row.bytes_up for row in rows.values() if row]
                assert sum(shares) == event.answer.bytes_up == answer.bytes_up + event.bytes_up

        self.patch.setattr(SectionQueue, "_learn", lambda *_: None)  # by the real clock: no section is slow here
        self.patch.setattr(Event, "__init__", made)
        self.patch.setattr(Event, "to", moved)
        self.patch.setattr(Event, "settle", settled)

    @initialize(
        joining=st.booleans(), passing=st.booleans(), wait_ms=st.sampled_from([0.0, 100.0, 5000.0]), room=st.booleans()
    )
    def begin(self, joining: bool, passing: bool, wait_ms: float, room: bool) -> None:
        """Put an edge together; `passing`: it has no section of its own."""
        self.run(self._begin, joining, passing, wait_ms, room)

    async def _begin(self, joining: bool, passing: bool, wait_ms: float, room: bool) -> None:
        policy = Policy(bundle="b", wait_ms=wait_ms, thresholds=Thresholds(local=0.2, edge=0.2))
        self.control = PolicyControl(policy, classes=CLASSES, devices=DEVICES)
        metrics, self.above = Metrics(Exit, range(DEVICES)), Above()
        self.sections = [Fused("scores"), Fused("features")][: 1 if passing else 2]
        steps = [
            Step(exit, cast(Section, section), needs=(section.inputs[0],))
            for exit, section in zip((Exit.LOCAL, Exit.EDGE), self.sections, strict=False)
        ]
        self.offload = (ToJoiningCloud if joining else ToCloud)(
            cast(Uplink, self.above),
            metrics,
            carries=("features",),
            background=10_000,
            edge=0,
            devices_below=range(DEVICES),
            max_batch=3,
            scores=codec_of("float32"),
        )
        self.engine = Engine(
            steps,
            metrics,
            above=Exit.CLOUD,
            offload=self.offload,
            most=2,
        )
        self.collector = Collector(
            Children([slice(n, n + 1) for n in range(DEVICES)], DEVICES, range(DEVICES), 100),
            self.engine,
            self.control,
            metrics,
            CollectorSettings(hold_s=HOLD_S, events=1000 if room else 2),
        )

    def run(self, work: Callable[..., Any], *args: Any) -> None:
        self.loop.run_until_complete(work(*args))

    async def _turn(self, seconds: float = 0.0) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        if seconds:
            await asyncio.sleep(seconds)

    @rule(
        child=st.integers(0, DEVICES - 1),
        ids=st.one_of(st.lists(st.sampled_from(IDS), min_size=1, unique=True), st.just([None]), st.just([None, None])),
        left=st.sampled_from([0.02, 0.5, 3.0, LONGEST_S]),
        what=st.sampled_from(["scores", "both", "sure"]),
        sure=st.booleans(),
        wait_ms=st.sampled_from([None, None, 0.0, 2000.0]),
        max_exit=st.sampled_from([Exit.CLOUD, Exit.CLOUD, Exit.LOCAL, Exit.EDGE]),
        threshold=st.sampled_from([None, None, None, 0.0, 0.9]),
    )
    def contribute(
        self,
        child: int,
        ids: list[bytes | None],
        left: float,
        what: str,
        sure: bool,
        wait_ms: float | None,
        max_exit: Exit,
        threshold: float | None,
    ) -> None:
        """A device sends scores, with features or without, or scores that it was sure of."""
        if ids[0] is None and what == "sure":
            what = "both"
        scores = np.eye(CLASSES, dtype=np.float32)[:1] * (20 if sure else 0)
        inputs: dict[str, Array] = {"scores": scores}
        if what == "both":
            inputs["features"] = np.full((1, BYTES), 9 * sure, np.uint8)
        answered = Exit.DEVICE if what == "sure" else None
        options = dict[str, Any](max_exit=max_exit, wait_ms=wait_ms, threshold=threshold)
        self.run(self._post, child, ids, inputs, left, answered, False, options)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), left=st.sampled_from([0.02, 3.0, LONGEST_S]))
    def send_features(self, data: st.DataObject, left: float) -> None:
        """A device that was asked for its features sends them, or those of another event."""
        child, id = data.draw(st.sampled_from(self.asked))
        features: dict[str, Array] = {"features": np.zeros((1, BYTES), np.uint8)}
        self.run(self._post, child, [id], features, left, None, True, {})

    @rule(id=st.sampled_from(IDS), left=st.sampled_from([3.0, LONGEST_S]), eager=st.booleans(), sure=st.just(False))
    def see(self, id: bytes, left: float, eager: bool, sure: bool) -> None:
        """All devices see the same."""
        for child in range(DEVICES):
            what = "both" if eager and child else "scores"
            self.contribute(child, [id], left, what, sure, None, Exit.CLOUD, None)

    async def _post(
        self,
        child: int,
        ids: Sequence[bytes | None],
        inputs: dict[str, Array],
        left: float,
        answered: Exit | None,
        second: bool,
        given: dict[str, Any],
    ) -> None:
        deadline = self.loop.time() + left
        options = RequestOptions(deadline, **given)
        one, mine = np.ones(1, np.bool_), np.arange(DEVICES) == child
        parts = [(id, Contribution(child, dict(inputs), one, mine, answered=answered, second=second)) for id in ids]
        ended: list[float] = []

        async def ask() -> list[Answer]:
            try:
                return await self.collector.answer(parts, options)
            finally:
                ended.append(self.loop.time())

        self.calls.append(Call(child, ids, deadline, self.loop.create_task(ask()), ended))
        await self._turn()

    @precondition(lambda self: self.above.open)
    @rule(data=st.data(), label=st.integers(-1, CLASSES - 1))
    def answer_from_above(self, data: st.DataObject, label: int) -> None:
        """The cloud answers; a label of -1 is no answer."""
        future, rows = data.draw(st.sampled_from(self.above.open))
        p, who = np.full(CLASSES, 0.25, np.float32), np.ones(DEVICES, np.bool_)
        answer = Answer(label, p, Exit.CLOUD, 0.9, who, 1, bytes_up=0, degraded_reason="" if label >= 0 else "error")
        answers = [answer] * rows
        reply = SimpleNamespace(answers=answers, headers={}, seconds=0.01)
        reply.bytes_sent = reply.bytes_received = 1
        future.set_result(reply)
        self.run(self._turn)

    @precondition(lambda self: self.above.open)
    @rule(data=st.data(), reason=st.sampled_from(["unreachable", "refused", "bad_answer"]))
    def lose_above(self, data: st.DataObject, reason: Any) -> None:
        """A request to the cloud fails."""
        future, _ = data.draw(st.sampled_from(self.above.open))
        future.set_exception(NoReply(reason, "gone"))
        self.run(self._turn)

    @rule(seconds=st.sampled_from([0.001, 0.06, 0.2, 1.0, 6.0]))
    def pass_time(self, seconds: float) -> None:
        """Timers run out."""
        self.run(self._turn, seconds)

    @precondition(lambda self: any(not call.task.done() for call in self.calls))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A caller leaves."""
        call = data.draw(st.sampled_from([call for call in self.calls if not call.task.done()]))
        call.task.cancel()
        self.run(self._turn)

    @rule(local=st.sampled_from([0.0, 0.0, 0.2, 1.0]), edge=st.sampled_from([0.0, 0.0, 0.2]), adaptive=st.booleans())
    def swap_policy(self, local: float, edge: float, adaptive: bool) -> None:
        """Another policy comes into force."""
        thresholds = Thresholds(local=local, edge=edge)
        policy = self.control.policy
        changed = policy.model_copy(
            update={"version": policy.version + 1, "thresholds": thresholds, "adaptive_wait": adaptive}
        )
        self.control.swap(changed, "admin")

    @rule(data=st.data())
    def break_or_mend(self, data: st.DataObject) -> None:
        """A section begins to fail, or stops; the tier above becomes too slow, or stops being so."""
        parts: list[Fused | Above] = [*self.sections, self.above]
        part = data.draw(st.sampled_from(parts))
        if isinstance(part, Above):
            part.in_time = not part.in_time
        else:
            part.broken = not part.broken

    @precondition(lambda self: not self.drained and len(self.events) > 8)
    @rule(sure=st.just(True))
    def drain(self, sure: bool) -> None:
        """The drain is over."""
        self.drained = sure
        self.run(self._drain)
        assert not {event.state for event in self.events} & {State.GATHERING, State.ASKING, State.OFFLOADED}

    async def _drain(self) -> None:
        self.collector.give_up()
        self.engine.give_up()
        await self._turn()

    @invariant()
    def everything_is_in_order(self) -> None:
        """What ended was answered, a row each, in time; nothing else went wrong."""
        assert not self.loop.problems, self.loop.problems
        for call in self.calls:
            if not call.task.done():
                assert self.loop.time() <= call.deadline
                continue
            assert call.ended[0] <= call.deadline
            if call.task.cancelled():
                continue
            if error := call.task.exception():
                assert "out of memory" in str(error) or "events are waiting here" in str(error)
                continue
            answers = call.task.result()
            assert len(answers) == len(call.ids)
            for id, answer in zip(call.ids, answers, strict=True):
                assert not answer.degraded or answer.degraded_reason
                if answer.need_features and answer.label < 0:
                    assert id is not None
                    self.asked.append((call.child, id))
        self.calls = [call for call in self.calls if not call.task.done()]
        self.asked = self.asked[-4:]
        assert all(count == 1 for count in self.answered.values())
        waiting = {call.child for call in self.calls}
        for event in self.events:
            assert event.state is not State.ASKING or event.unheard <= waiting, "replies that ask are out"
            assert event.state is not State.ASKING or not self.drained
            assert event.state is not State.OFFLOADED or not event.unwanted
        if isinstance(self.offload, ToJoiningCloud) and self.above.waited_for():
            assert any(event.state is State.OFFLOADED for event in self.events), "a request ends with its events"

    def teardown(self) -> None:
        """Long after the last deadline nothing is left, and the bytes that were sent are on the events' accounts."""
        if hasattr(self, "engine"):
            self.run(self._turn, LONGEST_S + HOLD_S)
            self.everything_is_in_order()
            assert not self.calls
            assert not self.engine._open
            assert not self.collector._asked
            assert (self.collector.pending, self.above.open, self.offload._tasks) == (0, [], set())
            ended = {State.ANSWERED, State.HELD, State.GONE}
            assert all(event.state in ended and not event.timer and not event.replies for event in self.events)
            assert self.above.payload == sum(event.bytes_up for event in self.events)
            self.run(self._forget)
            assert all(event.state in {State.ANSWERED, State.GONE} for event in self.events)
        self.patch.undo()
        self.loop.close()

    async def _forget(self) -> None:
        self.collector._held.shrink(0)


Events.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
)
TestEvents = Events.TestCase
