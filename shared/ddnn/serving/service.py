"""What the three tiers have in common: parts made from a bundle and settings, and one question to answer."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import orjson

import ddnn
from ddnn.bundle import Bundle
from ddnn.errors import BadConfig
from ddnn.extensions import refuse_unlisted
from ddnn.golden import check_sections, section_inputs
from ddnn.identity import Identity, Peer
from ddnn.policy import Policy
from ddnn.runtime import Section, with_threads
from ddnn.serving.admission import LoopLag, Queue
from ddnn.serving.audits import Audits
from ddnn.serving.budget import Accounts, account_names
from ddnn.serving.collector import Collector
from ddnn.serving.control import Follower, PolicyControl, PolicyFile
from ddnn.serving.engine import Engine, Step
from ddnn.serving.ledger import Ledger
from ddnn.serving.memory import REQUESTS, within_memory
from ddnn.serving.metrics import CIRCUIT, Metrics
from ddnn.serving.offload import Offload
from ddnn.serving.openapi import MODEL, VERSION
from ddnn.serving.pictures import Decoder, in_text
from ddnn.serving.request import RequestOptions, TensorSpec, answer_tensors
from ddnn.serving.room.below import Below
from ddnn.serving.room.reporter import Reporter
from ddnn.serving.upward import make_uplink
from ddnn.settings import Settings
from ddnn.signing import TrustedKeys
from ddnn.trail import Trail
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.uplink import Uplink
from ddnn.wire import InferRequest, Parameters, encode_request

__all__ = ["Parts", "Service", "load_parts", "open_bundle"]

_SELF_TEST_EVENTS = 16


@dataclass(frozen=True)
class Parts:
    """What every tier is made of."""

    tier: Tier
    bundle: Bundle
    settings: Settings
    sections: Mapping[str, Section]  #: by role: `section`, and `local` at an edge
    metrics: Metrics
    control: PolicyControl
    uplink: Uplink | None  #: to the tier above, where there is one
    identity: Identity | None  #: where tiers are known by their certificates
    trail: Trail

    @property
    def classes(self) -> int:
        return len(self.bundle.manifest.classes)

    @property
    def devices(self) -> int:
        return len(self.bundle.topology.devices)

    def engine(
        self,
        *,
        above: Exit | None = None,
        offload: Offload | None = None,
        audits: Audits | None = None,
        ledger: Ledger | None = None,
    ) -> Engine:
        topology, settings = self.bundle.topology, self.settings
        specs = topology.sections_of(self.tier, settings.index)
        return Engine(
            [Step.of(spec, self.sections[spec.role], topology) for spec in specs],
            self.metrics,
            above=above,
            offload=offload,
            audits=audits,
            ledger=ledger,
            most=settings.max_section_batch,
            delay_s=settings.max_delay_ms / 1000,
        )

    def audits(self) -> Audits:
        topology, most = self.bundle.topology, self.settings.max_background
        return Audits(self.tier, topology, self.control, self.metrics, most, upward=self.uplink is not None)

    def accounts(self) -> Accounts:
        """Those of the escalation budget, of which each edge has an equal part."""
        return Accounts.of(self.tier, self.bundle.topology, self.settings.index, self.control, self.metrics)

    def ledger(self, highest: Exit, *, devices: int, edge: int = 0) -> Ledger | None:
        """Decisions at the exits up to this one, over so many devices; none where no section decides."""
        exits = [exit for exit in self.bundle.topology.exits if exit.rank <= highest.rank]
        events = self.settings.ledger_events
        return Ledger(events, devices=devices, classes=self.classes, exits=exits, edge=edge) if self.sections else None


def open_bundle(settings: Settings) -> Bundle:
    """The tier's bundle; raise `BadBundle`, also where keys are trusted and none of them signed it."""
    return Bundle.open(settings.bundle, _trusted(settings))


def _trusted(settings: Settings) -> TrustedKeys | None:
    return TrustedKeys.read(settings.trusted_keys) if settings.trusted_keys else None


def load_parts(
    tier: Tier,
    settings: Settings,
    bundle: Bundle,
    places: int,
    joined: Iterable[int] = (),
    transport: httpx.AsyncBaseTransport | None = None,
) -> Parts:
    """Load and self-test the sections of one of `places` services, over `joined`; raise `BadBundle` or `BadConfig`.

    `transport` replaces the network on the way up, for a fleet within one process.
    """
    if settings.index >= places:
        raise BadConfig(
            f"DDNN_INDEX is {settings.index}; the bundle {bundle.manifest.name} has {places} {tier} section(s),"
            f" so expected 0 to {places - 1}"
        )
    if bundle.part not in (None, (tier, settings.index)):
        found = "-".join(map(str, bundle.part or ()))
        raise BadConfig(
            f"{bundle.path} is the slice of {found}; expected that of {tier}-{settings.index}, or the whole"
        )
    refuse_unlisted(bundle.topology.codecs, settings.extensions)
    identity = Identity(settings.identity, tier, settings.index) if settings.identity else None
    uplink = make_uplink(tier, settings, bundle, transport, identity)
    metrics = Metrics(bundle.topology.exits, tuple(joined), account_names(tier, bundle.topology, settings.index))
    metrics.build.labels(ddnn.__version__, tier, bundle.fingerprint[:12]).set(1)
    trail = Trail(settings.audit_dir and settings.audit_dir / f"audit-{tier}-{settings.index}.jsonl", str(tier))
    metrics.trail_dropped.set_function(lambda: trail.dropped)
    if identity:
        metrics.certificate.set_function(lambda: identity.expires)
    if uplink:
        metrics.circuit.set_function(lambda: CIRCUIT[uplink.circuit])
    control = PolicyControl(
        bundle.policy,
        classes=len(bundle.manifest.classes),
        devices=len(bundle.topology.devices),
        file=PolicyFile(settings.state_dir, f"{tier}-{settings.index}"),
        changed=metrics.show_policy,
        extensions=settings.extensions,
        trusted=_trusted(settings),
    )
    sections = _load_sections(tier, settings, bundle)
    return Parts(tier, bundle, within_memory(settings), sections, metrics, control, uplink, identity, trail)


def _load_sections(tier: Tier, settings: Settings, bundle: Bundle) -> dict[str, Section]:
    files = bundle.sections(tier, settings.index)
    sections = {role: Section(file, settings.threads or 1) for role, file in files.items()}
    check_sections(bundle, tier, settings.index, sections, _SELF_TEST_EVENTS)
    if settings.threads is not None or not sections:
        return sections
    inputs = section_inputs(bundle, tier, settings.index)
    return {
        role: with_threads(section, {name: rows[:_SELF_TEST_EVENTS] for name, rows in inputs[role].items()})
        for role, section in sections.items()
    }


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
        self.identity, self.trail = parts.identity, parts.trail
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
        self.follower: Follower | None = None
        if parts.uplink:
            above, every_s = self.settings.upstream, self.settings.policy_poll_s
            report = self.reporter
            self.follower = Follower(
                parts.uplink,
                above,
                parts.control,
                parts.trail,
                every_s=every_s,
                headers=report.named,
                heard=report.heard,
            )
        self.lag = LoopLag()
        self.started = time.monotonic()
        self.in_flight = 0  # inference requests being worked on
        self.metrics.in_flight.set_function(lambda: self.in_flight)
        del parts.bundle.golden  # a tier has no further use for it

    @abstractmethod
    async def infer(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Answer a request, a row an event; raise `DDNNError`."""

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
    def queues(self) -> Sequence[Queue]:
        """All that an event may wait in here."""
        return (*self.engine.queues, self.decoder) if self.decoder else self.engine.queues

    @property
    def draining(self) -> bool:
        return self.engine.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self.engine.draining = draining

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on; events that wait for contributions are."""
        return self.in_flight == 0 and not (self.collector and self.collector.pending)

    def give_up(self) -> None:
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
        if self.identity:
            self.identity.start(self._identity_changed)
        if self.follower:
            self.follower.start()

    async def close(self) -> None:
        """Let the last contributions out and go of the tier above."""
        self.lag.stop()
        if self.follower:
            await self.follower.stop()
        if self.identity:
            await self.identity.stop()
        if self.collector:
            self.collector.close()
        await self.engine.close()
        if self.decoder:
            self.decoder.close()
        if self.uplink:
            await self.uplink.aclose()
        self.trail.note("stop", "system")
        await asyncio.to_thread(self.trail.close)

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
        if self.uplink:
            await self.uplink.renew()

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
        }
        return {
            "tier": self.tier,
            "index": self.settings.index,
            "version": ddnn.__version__,
            "ready": not self.draining,
            "draining": self.draining,
            "bundle": {"name": manifest.name, "fingerprint": manifest.fingerprint},
            "policy": self._policy_status(),
            "uplink": above,
            "identity": self.identity and self.identity.document(),
            "audit_trail": self.trail.document(),
            "collector": self.collector and self.collector.document(),
            "late": self.collector and self.collector.lateness.document(manifest.training, self.policy.wait_ms),
            "recorded": None if self.engine.ledger is None else len(self.engine.ledger),
            "audits": self.engine.audits and self.engine.audits.document(),
            "outliers": self.collector and self.collector.outliers and self.collector.outliers.document(),
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
