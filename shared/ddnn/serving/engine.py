"""One engine for three tiers: an event goes from section to section until an exit is sure, then up."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from time import perf_counter
from typing import Final, NamedTuple

import numpy as np

from ddnn.errors import Unavailable
from ddnn.exits import judge
from ddnn.policy import Policy
from ddnn.runtime import Section
from ddnn.serving.audits import Audits
from ddnn.serving.batching import Outputs, SectionQueue
from ddnn.serving.doubts.keeper import Keeper
from ddnn.serving.event import Event, Reply, State
from ddnn.serving.ledger import Ledger
from ddnn.serving.metrics import Metrics
from ddnn.serving.offload import Offload
from ddnn.serving.request import RequestOptions, Stage
from ddnn.task import CRITERIA, Votes, needs_votes
from ddnn.topology import SectionSpec, Topology
from ddnn.types import Answer, Array, Exit, Floats

__all__ = ["Engine", "Step", "Verdict", "judge_events"]

_log = logging.getLogger("ddnn")
_WITHOUT_VOTES: Final = frozenset(CRITERIA) - {"agreement"}


@dataclass(frozen=True)
class Step:
    """A section that ends in an exit."""

    exit: Exit
    section: Section
    needs: tuple[str, ...]  #: the inputs without which this step cannot run
    unpack: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)  #: what rows become, by input
    pack: Callable[[Array], Array] | None = None  #: what features become on the way out
    scored: Callable[[Array], Array] | None = None  #: what scores (B, K) are above, and so here

    @classmethod
    def of(cls, spec: SectionSpec, section: Section, topology: Topology) -> "Step":
        """The step that runs a section of the topology."""
        unpack: dict[str, Callable[[Array], Array]] = {}
        for given in spec.inputs:
            child, features = topology.children(spec, given)[0], topology.features(given.child)
            codec = topology.codec(given, child)
            as_they_come = given.what == "scores" or codec.datatype == "BYTES"
            if codec.name not in ("view", "float32") and not as_they_come:
                shape = features.shape if features and given.what == "features" else topology.shape(given, child)
                unpack[given.what] = partial(codec.unpack, shape=shape)
        needs = tuple(given.what for given in spec.inputs)
        scores = topology.score_codec(spec.exit)
        scored = None if scores.name == "float32" else lambda values: scores.arrived(values, values.shape[1:])
        return cls(spec.exit, section, needs, unpack, spec.features.coded.pack if spec.features else None, scored)

    def run(self, events: Sequence[Event]) -> dict[str, Array]:
        """Run the section on a batch of events; features come out packed."""
        first, alone = events[0].inputs, len(events) == 1  # one row needs no copy
        rows = {
            name: first[name][np.newaxis] if alone else np.stack([event.inputs[name] for event in events])
            for name in self.section.inputs
        }
        for name, unpack in self.unpack.items():
            rows[name] = unpack(rows[name])
        outputs = self.section.run(**rows)
        if self.pack:
            outputs["features"] = self.pack(outputs["features"])
        if self.scored:
            outputs["scores"] = self.scored(outputs["scores"])
        return outputs


class Engine:
    """Takes events through the exits of one tier, and holds them until they are answered."""

    def __init__(
        self,
        steps: Sequence[Step],
        metrics: Metrics,
        *,
        above: Exit | None = None,
        offload: Offload | None = None,
        audits: Audits | None = None,
        ledger: Ledger | None = None,
        keeper: Keeper | None = None,
        most: int = 64,
        delay_s: float = 0.0,
    ) -> None:
        """`above` is the first exit of the tier above; `ledger` and `keeper` keep what is decided here.

        At most `most` events go through a section at once; one that is free waits `delay_s` for more.
        """
        self.steps, self.above, self.offload, self.audits, self.ledger = tuple(steps), above, offload, audits, ledger
        self._keeper = keeper
        self._metrics, self._batch_size = metrics, metrics.batch_size.labels()
        self.told: Callable[[Event, Answer], None] | None = None  #: hears of every answer
        self._open: dict[Event, None] = {}  # in the order in which they came
        self.draining = self._gave_up = False  # whether no new events are taken
        self.queues = [
            SectionQueue(
                step.run,
                partial(self._decide, step),
                self._go_on,
                self._failed,
                most=most,
                delay_s=delay_s,
                at_once=step.section.at_once,
            )
            for step in self.steps
        ]

    async def answer(self, events: Sequence[Event], options: RequestOptions) -> list[Answer]:
        """Answer events of one request, a row each, none of which waits for others; raise what a section raised."""
        if self.draining:
            raise self.refused()
        reply = Reply(options, len(events))
        for row, event in enumerate(events):
            event.wait_for(reply, row)
        self._open.update(dict.fromkeys(events))
        self._go_on(events)
        return await reply.wait()

    def start(self, events: Sequence[Event]) -> None:
        """Take events on that are collected, or whose features have come."""
        self._open.update(dict.fromkeys(events))
        steps = {event.step for event in events}
        for step in sorted(steps):
            self._go_on(events if len(steps) == 1 else [event for event in events if event.step == step])

    def refused(self) -> Unavailable:
        """What a request with new events hears while this tier is draining."""
        self._metrics.shed.labels("draining").inc()
        return Unavailable("this tier is shutting down; ask another one, or again in a second")

    def give_up(self) -> None:
        """Answer all that wait for others with what there is, now and from now on: the drain is over."""
        self._gave_up = True
        for event in list(self._open):
            if event.state is State.OFFLOADED or event.reached >= 0:
                event.degrade("draining")

    async def close(self) -> None:
        if self.audits:
            self.audits.close()
        for queue in self.queues:
            queue.close()
        if self.offload:
            await self.offload.close()

    def ask(self, event: Event, what: str) -> None:
        """Of an event of its own the child sends everything once more, with the view; features came at once."""
        if what == "view":
            event.settle(replace(event.best, label=-1, need_features=True))
        else:
            event.degrade("no_features")

    def settled(self, event: Event) -> None:
        """Count, audit and keep an event's answer; that of an audit is only compared."""
        self._open.pop(event, None)
        answer, audits = event.answer, self.audits
        assert answer is not None
        if event.options.audit:
            given = audits.compare(event, answer) if audits else None
            if given and self._keeper:
                self._keeper.differed(event, given, answer)
            return
        self._metrics.answered(answer)
        if audits:
            audits.answered(event, answer)
        if self.ledger is not None:
            self.ledger.note(event, answer)
        if self._keeper:
            self._keeper.note(event, answer)
        if self.told:
            self.told(event, answer)

    def failed(self, event: Event, error: Exception) -> None:
        if event.options.audit:
            event.degrade("error")
        else:
            self._open.pop(event, None)
            event.fail(error)

    def _go_on(self, events: Sequence[Event]) -> None:
        """Take events that came together, and are as far, into their next section, or up."""
        at = events[0].step
        step = self.steps[at] if at < len(self.steps) else None
        exit = step.exit if step else self.above
        needs = step.needs if step else self.offload.carries if self.offload else None
        ready = []
        for event in events:
            if exit and event.reached >= 0 and self._high_enough(event, exit):
                continue
            if needs is None:
                event.degrade("no_upstream")
            elif not (missing := [name for name in needs if name not in event.inputs]):
                ready.append(event)
            elif step is None and self.offload and self.offload.budget and not self.offload.budget.affords(event):
                event.degrade("budget")  # before what is missing costs the devices anything
            else:
                event.holder.ask(event, missing[0])
        if ready and step:
            self.queues[at].put(ready)
        elif ready:
            self._go_up(ready)

    @staticmethod
    def _high_enough(event: Event, exit: Exit) -> bool:
        """Answer the callers that want nothing so high as `exit`; whether these were all."""
        enough = [waiting for waiting in event.replies if waiting[0].options.max_exit.rank < exit.rank]
        if not enough:
            return False
        if len(enough) < len(event.replies):
            event.give_best(enough)
            return False
        event.swayed = True
        event.settle(event.best)
        return True

    def _go_up(self, events: Sequence[Event]) -> None:
        assert self.offload is not None
        now = perf_counter()
        for event in events:
            event.to(State.OFFLOADED)
            event.since = now
            if self._gave_up:
                event.degrade("draining")
        if not self._gave_up:
            self.offload.take(events)

    def _failed(self, events: Sequence[Event], error: Exception) -> None:
        _log.error("%d events could not be decided", len(events), exc_info=error)
        for event in events:
            event.holder.failed(event, error)

    def _decide(self, step: Step, events: Sequence[Event], outputs: Outputs, seconds: float) -> None:
        """Settle those of a run's events that its exit is sure of; the others have its answer as their best so far."""
        self._batch_size.observe(len(events))
        run = Stage(step.exit.value, seconds, perf_counter() - seconds)
        sure: list[Event] = []
        parted: list[Event] = []
        scores, features = outputs["scores"], outputs.get("features")
        verdicts = judge_events(step.exit, scores, events)
        finite = np.logical_and.reduce(np.isfinite(scores), axis=-1).tolist()
        for row, event in enumerate(events):
            if event.state is not State.DECIDING:  # answered while the section was at it
                continue
            if not finite[row]:  # inputs beyond all measure: there is no more to say than below
                event.degrade("error")
                continue
            event.best, event.reached = verdicts[row].answer, step.exit.rank
            event.judged[step.exit] = scores[row].copy()  # it is kept longer than its batch
            event.stages.append(run)
            if features is not None:
                event.inputs["features"] = features[row]
            event.step += 1
            if self._content(event, verdicts[row], parted):
                sure.append(event)
        if sure and self.audits and (copies := self.audits.pick(sure, to=self)):
            self.start(copies)
        if sure and self.offload and self.offload.report:
            self.offload.report(sure)
        for event in sure:
            event.settle(event.best)
        if parted:
            self.start(parted)

    @staticmethod
    def _content(event: Event, verdict: "Verdict", parted: list[Event]) -> bool:
        """Whether an exit has answered an event; callers with terms of their own go another way, in `parted` on."""
        if not event.replies:
            return verdict.suits(event.options)
        content = [waiting for waiting in event.replies if verdict.suits(waiting[0].options)]
        sure, everyone = verdict.sure, len(content) == len(event.replies)
        if everyone:
            event.swayed |= not sure or all(reply.options.own_terms for reply, _ in content)
        elif not content:  # all want more than the policy does, or it is not sure either
            event.swayed |= sure
            return False
        elif sure:
            parted.append(event.part([waiting for waiting in event.replies if waiting not in content]))
            parted[-1].swayed = True
        else:
            event.give_best(content)
        return everyone or sure


class Verdict(NamedTuple):
    """What an exit says of an event, and how unsure it may be of it under the policy."""

    answer: Answer
    uncertainty: float
    limit: float

    @property
    def sure(self) -> bool:
        return self.uncertainty < self.limit

    def suits(self, options: RequestOptions) -> bool:
        """Whether it is sure enough for a caller."""
        asked = options.threshold
        if asked is None or self.limit == 0 or self.answer.exit is Exit.CLOUD:
            return self.sure
        return self.uncertainty < asked


def judge_events(exit: Exit, scores: Floats, events: Sequence[Event]) -> list[Verdict]:
    """What `exit` says of each event by `scores` (B, K), and whether it answers, by the event's rule."""
    verdicts: list[Verdict] = []
    for rule, same in groupby(events, key=attrgetter("rule")):
        group, policy = list(same), rule.policy
        rows = scores[len(verdicts) : len(verdicts) + len(group)]
        live = [int(event.devices.sum()) if rule.by_live else 0 for event in group]
        votes = None if policy.criterion in _WITHOUT_VOTES else _votes(exit, policy, group)
        p, uncertainty, labels = judge(rows, rule.temperatures[exit][live], policy.criterion, votes, rule.task)
        limits = rule.thresholds[exit][live].tolist()
        for event, values, u, label, own in zip(group, p, uncertainty.tolist(), labels.tolist(), limits, strict=True):
            answer = Answer(label, values, exit, 1 - u, event.devices, policy.version)
            verdicts.append(Verdict(answer, u, own))
    return verdicts


def _votes(exit: Exit, policy: Policy, events: Sequence[Event]) -> Votes:
    if not needs_votes(policy.criterion) or exit not in (Exit.LOCAL, Exit.EDGE):
        return None
    if not all("scores" in event.inputs for event in events):  # of an edge that was sure the cloud has no more
        return None
    return tuple(np.stack([event.inputs[name] for event in events]) for name in ("scores", "present"))  # type: ignore[return-value]
