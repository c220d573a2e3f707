"""What the three tiers have in common: a bundle's sections behind an engine, and one question to answer."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import httpx
import orjson

import ddnn
from ddnn.bundle import Bundle
from ddnn.errors import BadConfig, BadInput, Unavailable
from ddnn.golden import check_sections, section_inputs
from ddnn.policy import Policy
from ddnn.runtime import Section, with_threads
from ddnn.serving.audits import Audits
from ddnn.serving.case import Case, Terms, no_answer
from ddnn.serving.engine import Engine, Step
from ddnn.serving.follow import Follower
from ddnn.serving.lag import LoopLag
from ddnn.serving.ledger import Ledger
from ddnn.serving.metrics import CIRCUIT, Metrics
from ddnn.serving.policy_in_force import InForce, Source
from ddnn.serving.state import State
from ddnn.serving.tensors import TensorSpec
from ddnn.serving.to_cloud import ToCloud
from ddnn.serving.way_up import ToEdge
from ddnn.settings import Settings
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.uplink import SILENCE_S, Uplink
from ddnn.wire import InferRequest, Parameters, encode_request

__all__ = ["Service"]

_SELF_TEST_EVENTS = 16
_EVENT_ID_BYTES = 256
_TURNS = 3
"""A request waits for the event loop when it comes, when it is asked above or run, and when it is answered."""


class Service(ABC):
    """One tier's logic, without HTTP. Making one loads and self-tests its sections; raises `BadBundle`, `BadConfig`."""

    tier: ClassVar[Tier]
    engine: Engine

    def __init__(self, bundle: Bundle, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the network on the way up, for a fleet within one process."""
        self.bundle, self.settings = bundle, settings
        topology = bundle.topology
        count = {Tier.DEVICE: len(topology.devices), Tier.EDGE: len(topology.edges), Tier.CLOUD: 1}[self.tier]
        if settings.index >= count:
            raise BadConfig(
                f"DDNN_INDEX is {settings.index}; the bundle {bundle.manifest.name} has {count} {self.tier} section(s),"
                f" so expected 0 to {count - 1}"
            )
        self.classes, self.devices = len(bundle.manifest.classes), len(topology.devices)
        self.sections = {
            role: Section(file, settings.threads or 1)
            for role, file in bundle.sections(self.tier, settings.index).items()
        }
        check_sections(bundle, self.tier, settings.index, self.sections, _SELF_TEST_EVENTS)
        if settings.threads is None and self.sections:
            inputs = section_inputs(bundle, self.tier, settings.index)
            self.sections = {
                role: with_threads(section, {name: rows[:_SELF_TEST_EVENTS] for name, rows in inputs[role].items()})
                for role, section in self.sections.items()
            }
        self.request_example = self._readable(*self.example())
        del bundle.golden  # a tier has no further use for it
        joins = self.tier is Tier.EDGE or (self.tier is Tier.CLOUD and len(topology.edges) > 1)
        self.metrics = Metrics(topology.exits, range(self.devices) if joins else ())
        self.metrics.build.labels(ddnn.__version__, self.tier, bundle.fingerprint[:12]).set(1)
        self.state = State(settings.state_dir, f"{self.tier}-{settings.index}")
        kept = self.state.read(bundle.policy)
        self.in_force = InForce(
            kept[0] if kept else bundle.policy,
            "state" if kept else "bundle",
            previous=kept[1] if kept else None,
            changed=self._show_policy,
        )
        token = settings.token.get_secret_value() if settings.token else None
        self.uplink = (
            Uplink(
                settings.upstream,
                bundle=bundle.fingerprint,
                token=token,
                transport=transport,
                silence_s=None if transport else SILENCE_S,
                classes=self.classes,
                devices=self.devices,
                # Fewer would let events wait here for siblings that wait elsewhere.
                connections=settings.max_in_flight + settings.max_background,
            )
            if settings.upstream and self.tier is not Tier.CLOUD
            else None
        )
        if uplink := self.uplink:
            self.metrics.circuit.set_function(lambda: CIRCUIT[uplink.circuit])
        self.follower = (
            Follower(
                self.uplink,
                settings.upstream,
                every_s=settings.policy_poll_s,
                here=self.in_force,
                take=self._follow,
            )
            if self.uplink
            else None
        )
        self.way_up: ToEdge | ToCloud | None = None
        self.ledger: Ledger | None = None
        """What was decided here lately; none where every decision is another tier's."""
        self.audits: Audits | None = None
        self._no_answer = no_answer(self.classes, self.devices, self.policy.version, need_features=False)
        self.lag = LoopLag()
        self.started = time.monotonic()
        self.draining = False
        self.in_flight = 0
        """Inference requests being worked on."""
        self.metrics.in_flight.set_function(lambda: self.in_flight)

    @property
    @abstractmethod
    def inputs(self) -> Sequence[TensorSpec]:
        """What this tier takes."""

    @abstractmethod
    async def infer(self, request: InferRequest, terms: Terms) -> list[Answer]:
        """Answer a request, a row an event; raise `DDNNError`."""

    @abstractmethod
    def example(self) -> tuple[dict[str, Array], Parameters]:
        """A request that this tier answers: inputs and parameters, from the golden events."""

    @property
    def own_exits(self) -> tuple[Exit, ...]:
        """The exits whose scores this tier sees, lowest first; an edge sees those of its devices too."""
        below = {Tier.DEVICE: Exit.DEVICE, Tier.EDGE: Exit.EDGE, Tier.CLOUD: Exit.CLOUD}[self.tier]
        return tuple(exit for exit in self.bundle.topology.exits if exit.rank <= below.rank)

    @property
    def policy(self) -> Policy:
        """What events that arrive now are decided under; assigning another swaps it for those that come after."""
        return self.in_force.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.in_force.swap(policy, "admin")

    async def change_policy(self, policy: Policy, source: Source) -> bool:
        """Put `policy` in force at once, then keep it; whether it will outlive a restart."""
        self.in_force.swap(policy, source)
        return await self.state.keep(policy, self.in_force.previous)

    async def _follow(self, policy: Policy) -> None:
        await self.change_policy(policy, "upstream")

    def no_answer(self, policy: Policy) -> Answer:
        """What there is of an event before the first exit; one for all under a policy, as nobody writes to it."""
        if self._no_answer.policy_version != policy.version:
            self._no_answer = no_answer(self.classes, self.devices, policy.version, need_features=False)
        return self._no_answer

    def make_engine(
        self,
        steps: Sequence[Step],
        *,
        above: Exit | None = None,
        ask: Callable[[Case], None] | None = None,
    ) -> Engine:
        """The exits of this tier, with what is the same at all tiers."""
        return Engine(
            steps,
            above=above,
            way_up=self.way_up,
            ask=ask,
            audit=self.audits.sure if self.audits else None,
            observe=self.metrics.batch_size.observe,
            most=self.settings.max_section_batch,
            delay_s=self.settings.max_delay_ms / 1000,
        )

    def settled(self, case: Case, answer: Answer) -> None:
        """Hear of each event that this tier has given its answer to."""
        if case.terms.audit:
            return
        self.metrics.answered(answer)
        if self.audits:
            self.audits.answered(case, answer)
        if self.ledger is not None:
            self.ledger.note(case, answer)

    def make_audits(self) -> Audits:
        """Audits of what is answered here, for a tier that has its way up."""
        return Audits(
            self.tier,
            self.bundle.topology,
            policy=lambda: self.policy,
            advance=lambda cases: self.engine.advance(cases),
            way_up=self.way_up,
            metrics=self.metrics.audits,
            waiting=self.settings.max_background,
        )

    def _show_policy(self, policy: Policy) -> None:
        self.metrics.policy.clear()
        self.metrics.policy.labels(str(policy.version), policy.criterion).set(1)

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self.in_flight == 0

    def give_up(self) -> None:
        """Answer everything that waits with what there is: the drain is over."""
        if self.way_up:
            self.way_up.give_up()

    async def close(self) -> None:
        """Let the last contributions out and go of the tier above."""
        self.lag.stop()
        if self.follower:
            await self.follower.stop()
        if self.audits:
            self.audits.close()
        self.engine.close()
        if self.way_up:
            await self.way_up.close()
        if self.uplink:
            await self.uplink.aclose()

    @staticmethod
    def _readable(inputs: dict[str, Array], parameters: Parameters) -> dict[str, Any]:
        body, _ = encode_request(inputs, parameters=parameters, binary=False, binary_output=False)
        readable: dict[str, Any] = orjson.loads(body)
        return readable

    @property
    def room(self) -> int:
        """Most requests being worked on at once."""
        return self.settings.max_in_flight

    @property
    def wait_s(self) -> float:
        """Seconds that an event which came now would wait for its sections and for the event loop."""
        return self.engine.wait_s + _TURNS * self.lag.standing_s

    def refuse_when_draining(self) -> None:
        """Raise `Unavailable` when this tier takes nothing new."""
        if self.draining:
            self.metrics.shed.labels("draining").inc()
            raise Unavailable("this tier is shutting down; ask another one, or again in a second")

    def events(self, request: InferRequest, rows: int) -> list[bytes | None]:
        """The request's event ids, checked; all None when each row is an event of its own."""
        if "event" not in request.inputs:
            return [None] * rows
        ids: list[bytes] = request.take("event", "BYTES", (rows,)).tolist()
        for event in ids:
            if not 0 < len(event) <= _EVENT_ID_BYTES:
                raise BadInput(
                    f"input tensor 'event' holds an id of {len(event)} bytes; expected 1 to {_EVENT_ID_BYTES}"
                )
        if len(set(ids)) < len(ids):
            raise BadInput("input tensor 'event' names an event twice; expected each row to be another event")
        return [*ids]

    def rows(self, request: InferRequest, name: str) -> int:
        """Events in the request, by its tensor `name`: 1 to the most a request may have."""
        array = request.inputs.get(name)
        rows = array.shape[0] if array is not None and array.ndim else 1
        if not 1 <= rows <= self.settings.max_batch:
            raise BadInput(f"input tensor {name!r} has {rows} rows; expected 1 to {self.settings.max_batch}")
        return rows

    def status(self) -> dict[str, Any]:
        """`GET /v2/status`."""
        manifest, policy, uplink = self.bundle.manifest, self.policy, self.uplink
        exits = {exit.value: 0 for exit in self.bundle.topology.exits}
        degraded = 0
        for sample in next(iter(self.metrics.exits.collect())).samples:
            if sample.name.endswith("_total"):
                exits[sample.labels["exit"]] += int(sample.value)
                degraded += int(sample.value) if sample.labels["reason"] != "sure" else 0
        return {
            "tier": self.tier,
            "index": self.settings.index,
            "version": ddnn.__version__,
            "ready": not self.draining,
            "draining": self.draining,
            "bundle": {"name": manifest.name, "fingerprint": manifest.fingerprint},
            "policy": {
                **policy.model_dump(mode="json", include={"version", "criterion", "thresholds", "offload"}),
                **self._policy_status(),
            },
            "uplink": uplink
            and {
                "urls": list(self.settings.upstream),
                "circuit": uplink.circuit,
                "round_trip_ms": uplink.round_trip_ms,
            },
            "collector": None,
            "recorded": None if self.ledger is None else len(self.ledger),
            "audits": self.audits and self.audits.document(),
            "exits": exits,
            "requests": self.request_count(),
            "degraded": degraded,
            "uptime_seconds": round(time.monotonic() - self.started, 3),
        }

    def _policy_status(self) -> dict[str, Any]:
        """Where the policy is from, whether it will outlive a restart, and how following the tier above goes."""
        follower, current = self.follower, self.in_force
        age = follower.age_s if follower else None
        return {
            "etag": current.etag,
            "source": current.source,
            "previous": current.previous.version if current.previous else None,
            "kept": current.source == "bundle" or not self.state.problem,
            "not_kept_because": None if current.source == "bundle" else self.state.problem or None,
            "followed_s_ago": None if age is None else round(age, 3),
            "not_followed_because": (follower.problem if follower else None) or None,
        }

    def request_count(self) -> int:
        """Inference requests answered, whatever the code."""
        samples = next(iter(self.metrics.requests.collect())).samples
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))
