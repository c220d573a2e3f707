"""What the three tiers have in common: parts made from a bundle and settings, and one question to answer."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import orjson

import ddnn
from ddnn.errors import Overloaded
from ddnn.identity import Peer
from ddnn.policy import Policy
from ddnn.serving.admission import Queue
from ddnn.serving.budget import Accounts
from ddnn.serving.collector import Collector
from ddnn.serving.control import Follower
from ddnn.serving.engine import Engine
from ddnn.serving.lag import LoopLag
from ddnn.serving.memory import REQUESTS
from ddnn.serving.openapi import MODEL, VERSION
from ddnn.serving.parts import Parts
from ddnn.serving.pictures import Decoder, in_text
from ddnn.serving.pressure import Pressure
from ddnn.serving.request import RequestOptions, TensorSpec, answer_tensors
from ddnn.serving.room.below import Below
from ddnn.serving.room.reporter import Reporter
from ddnn.serving.waits import Waits
from ddnn.types import Answer, Array, Tier
from ddnn.wire import InferRequest, Parameters, encode_request

__all__ = ["Service"]

_FEW: Final = 6  #: requests of each child that are worked on at once, however late the loop is: fewer would help nobody


class Service(ABC):
    """One tier's logic, without HTTP: its parts, put together by the tier's own package."""

    child: ClassVar[Tier | None] = None  #: the tier whose contributions it takes

    def __init__(
        self,
        parts: Parts,
        engine: Engine,
        inputs: Sequence[TensorSpec],
        example: tuple[dict[str, Array], Parameters],
        *,
        collector: Collector | None = None,
        accounts: Accounts | None = None,
        need_features: bool = False,
        class_names: Sequence[str] = (),
        decoder: Decoder | None = None,
    ) -> None:
        """`inputs` are what it takes, `example` a request that it answers; `need_features`: its answers may say so.

        With `class_names` its answers name their class, too; `accounts` are those of its escalation budget.
        """
        self.parts, self.engine, self.collector, self.accounts = parts, engine, collector, accounts
        files = any(spec.unpack for spec in inputs)  # views that come as files
        self.decoder = decoder
        if files and not decoder:
            self.decoder = Decoder(most_bytes=parts.settings.max_in_flight_bytes or REQUESTS)
        self.tier, self.bundle, self.settings = parts.tier, parts.bundle, parts.settings
        self.metrics, self.control, self.uplink = parts.metrics, parts.control, parts.uplink
        self.identity, self.trail, self.keeper = parts.identity, parts.trail, parts.keeper
        self.inputs, self.input_names = tuple(inputs), tuple(spec.name for spec in inputs)
        self.takes_pictures = "picture" in self.input_names
        self.need_features, self.class_names = need_features, tuple(class_names)
        self.outputs = tuple(
            answer_tensors(parts.classes, parts.devices, need_features=need_features, named=bool(class_names))
        )
        body, _ = encode_request(in_text(example[0]), parameters=example[1], binary=False, binary_output=False)
        self.request_example: dict[str, Any] = orjson.loads(body)
        self.below = Below.of(self.tier, self.bundle.topology, self.settings) if self.child else None
        self.reporter = Reporter(self)
        self.follower = self.make_follower()
        self.announce()
        self.beside: Service | None = None  #: of another bundle, while two are served
        self.rollout: Callable[[], dict[str, Any]] | None = None  #: what the status has of it
        self.lag = LoopLag()
        self.waits = Waits()
        door = self.waits if self.child is None else None  # above it, contributions wait for each other
        self.pressure = Pressure(self.settings.max_lag_ms / 1000, self._is_busy, waits=door)
        self.lag.heard = self.pressure.look
        if engine.offload:
            engine.offload.pressed = self._kept_from_above
        self.started = time.monotonic()
        self.metrics.in_flight.set_function(lambda: self.in_flight)
        self.metrics.show_pressure(self.pressure, lambda: self.above_pressed)
        del parts.bundle.golden  # a tier has no further use for it

    @abstractmethod
    async def infer(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Answer a request, a row an event; raise `DDNNError`."""

    async def _heard(self, url: str, headers: Mapping[str, str]) -> None:
        """The tier above at `url` has answered a question for its policy."""
        await self.reporter.heard(url, headers)
        await self.keeper.heard(url, headers)

    def make_follower(self) -> Follower | None:
        """What follows the policy of the tier above, where there is one."""
        if not self.uplink:
            return None
        above, every_s, report = self.settings.upstream, self.settings.policy_poll_s, self.reporter
        told = {"headers": report.named, "heard": self._heard, "hurried": lambda: report.watched}
        return Follower(self.uplink, above, self.control, self.trail, every_s=every_s, **told)  # type: ignore[arg-type]

    def announce(self) -> None:
        """Tell the tiers below of each policy that is in force here from now on."""
        if self.below:
            self.control.taken = partial(self.below.bulletin.put, "policy")
            self.control.taken(self.control.etag)

    def announce_plan(self, tag: str) -> None:
        """Tell the tiers below which plan of a rollout there is."""
        if self.below:
            self.below.bulletin.put("plan", tag)

    @property
    def policy(self) -> Policy:
        """What events that arrive now are decided under; assigning another swaps it for those that come after."""
        return self.control.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.control.swap(policy, "admin")

    @property
    def room(self) -> int:
        """Most requests being worked on at once: what its children, which wait for each other, may have together."""
        return self.settings.max_in_flight * self.children

    @property
    def children(self) -> int:
        """Tiers below that may ask at the same time."""
        return len(self.collector.children.places) if self.collector else 1

    @property
    def in_flight(self) -> int:
        """Inference requests being worked on."""
        return self.waits.count

    def _is_busy(self) -> bool:
        """Whether so much is being worked on that less would be quicker."""
        return self.in_flight > _FEW * self.children

    @property
    def above_pressed(self) -> float:
        """Share of the events that the tier above would rather not have; 0 while this tier has few for it anyway."""
        return self.uplink.pressed if self.uplink and self._is_busy() else 0.0

    def _kept_from_above(self) -> float:
        """Share of the events that is answered here, as the tier above would rather not have it; at the door, where
        this machine has no CPU for that, they are refused instead."""
        return 0.0 if self.child is None and self.pressure.scarce else self.above_pressed

    @property
    def sheds(self) -> float:
        """Share of the events that is shed here now."""
        return self.pressure.shed_with(self.above_pressed) if self._is_busy() else 0.0

    def refuse_pressed(self, id: bytes | None) -> None:
        """Raise `Overloaded` if this event is to be shed, before any work is done on it."""
        try:
            self.pressure.refuse(id, self.above_pressed)
        except Overloaded:
            self.metrics.shed.labels("pressed").inc()
            raise

    @property
    def queues(self) -> Sequence[Queue]:
        """All that an event may wait in here."""
        return (*self.engine.queues, self.decoder) if self.decoder else self.engine.queues

    @property
    def draining(self) -> bool:
        return self.engine.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self.engine.draining = draining
        if self.beside:
            self.beside.engine.draining = draining

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on; events that wait for contributions are."""
        return all(
            each.in_flight == 0 and not (each.collector and each.collector.pending)
            for each in (self, self.beside)
            if each
        )

    def give_up(self) -> None:
        if self.beside:
            self.beside.give_up()
        if self.collector:
            self.collector.give_up()
        self.engine.give_up()

    def knows(self, peer: Peer | None) -> bool:
        """Whether a request comes from a tier below, which needs no token; `demand` looks closer."""
        return peer is not None and peer.name.tier is self.child

    def demand(self, peer: Peer | None, index: int) -> None:
        """Raise `Forbidden` unless a contribution of child `index` comes from it, where there are certificates."""
        if self.identity and self.child:
            self.identity.demand(peer, self.child, index)

    def start(self) -> None:
        """Look at the event loop, and follow the tier above."""
        self.lag.start()
        self.trail.start()
        self._note_start()
        self.keeper.start(self)
        if self.identity:
            self.identity.start(self._identity_changed)
        if self.follower:
            self.follower.start()
            self.reporter.start()

    async def close(self) -> None:
        """Let the last contributions out and go of the tier above."""
        self.lag.stop()
        if self.follower:
            await self.follower.stop()
            await self.reporter.stop()
        if self.identity:
            await self.identity.stop()
        if self.beside:
            await self.beside.retire()
        await self.retire()
        await self.keeper.stop()
        self.trail.note("stop", "system")
        await asyncio.to_thread(self.trail.close)

    async def retire(self) -> None:
        """Work on nothing any more."""
        if self.collector:
            self.collector.close()
        await self.engine.close()
        if self.decoder:
            self.decoder.close()
        if self.uplink:
            await self.uplink.aclose()

    def _note_start(self) -> None:
        """What was loaded, on whose word."""
        bundle, signature = self.bundle, self.bundle.signature
        loaded = {"name": bundle.manifest.name, "fingerprint": bundle.fingerprint}
        self.trail.note(
            "start",
            "system",
            version=ddnn.__version__,
            bundle={**loaded, "signed_by": signature and signature.key},
            policy={**self.policy.named(), "source": self.control.source},
            identity=self.identity and self.identity.document(),
        )

    async def _identity_changed(self) -> None:
        assert self.identity is not None
        self.trail.note("identity", "system", **self.identity.document())
        for each in (self, self.beside):
            if each and each.uplink:
                await each.uplink.renew()

    def metadata(self) -> dict[str, Any]:
        return {
            "name": MODEL,
            "versions": [VERSION],
            "platform": "ddnn_onnxruntime",
            "inputs": [spec.metadata() for spec in self.inputs],
            "outputs": [spec.metadata() for spec in self.outputs],
            "parameters": {
                "classes": list(self.bundle.manifest.classes),
                "bundle": self.bundle.fingerprint,
                "edges": [list(edge.devices) for edge in self.bundle.topology.edges],
            },
        }

    def status(self) -> dict[str, Any]:
        manifest, uplink = self.bundle.manifest, self.uplink
        exits, degraded = self.metrics.exit_counts(self.bundle.topology.exits)
        above = uplink and {
            "urls": list(self.settings.upstream),
            "circuit": uplink.circuit,
            "round_trip_ms": uplink.round_trip_ms,
            "refusal": uplink.refusal,
            "transport": "stream" if uplink.streams.told else "http",
        }
        return {
            "tier": self.tier,
            "index": self.settings.index,
            "version": ddnn.__version__,
            "ready": not self.draining,
            "draining": self.draining,
            "bundle": {"name": manifest.name, "fingerprint": manifest.fingerprint},
            "policy": self._policy_status(),
            "rollout": self.rollout and self.rollout(),
            "uplink": above,
            "pressure": self.pressure.document(uplink.pressed if uplink else None),
            "identity": self.identity and self.identity.document(),
            "audit_trail": self.trail.document(),
            "collector": self.collector and self.collector.document(),
            "late": self.collector and self.collector.lateness.document(manifest.training, self.policy.wait_ms),
            "recorded": None if self.engine.ledger is None else len(self.engine.ledger),
            "audits": self.engine.audits and self.engine.audits.document(),
            "outliers": self.collector and self.collector.outliers and self.collector.outliers.document(),
            "doubts": self.keeper.document(),
            "budget": self.accounts and self.accounts.document(),
            "exits": exits,
            "requests": self.metrics.request_count(),
            "degraded": degraded,
            "uptime_seconds": round(time.monotonic() - self.started, 3),
        }

    def _policy_status(self) -> dict[str, Any]:
        follower, control = self.follower, self.control
        age = follower.age_s if follower else None
        return {
            **control.policy.model_dump(mode="json", include={"version", "criterion", "thresholds", "offload"}),
            "etag": control.etag,
            "source": control.source,
            "previous": control.previous.version if control.previous else None,
            "kept": not control.problem,
            "not_kept_because": control.problem or None,
            "followed_s_ago": None if age is None else round(age, 3),
            "not_followed_because": (follower.problem if follower else None) or None,
        }
