"""What every tier is made of: sections, metrics, policy, uplink and identity, loaded from a bundle and settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx

import ddnn
from ddnn.bundle import Bundle
from ddnn.errors import BadConfig
from ddnn.extensions import refuse_unlisted
from ddnn.golden import check_sections, section_inputs
from ddnn.identity import Identity
from ddnn.runtime import Section, with_threads
from ddnn.serving.audits import Audits
from ddnn.serving.budget import Accounts, account_names
from ddnn.serving.control import PolicyControl, PolicyFile
from ddnn.serving.doubts.keeper import Keeper
from ddnn.serving.engine import Engine, Step
from ddnn.serving.had import Had
from ddnn.serving.ledger import Ledger
from ddnn.serving.memory import within_memory
from ddnn.serving.metrics import CIRCUIT, Metrics
from ddnn.serving.offload import Offload
from ddnn.serving.upward import make_uplink
from ddnn.settings import Settings
from ddnn.signing import TrustedKeys
from ddnn.trail import Trail
from ddnn.types import Exit, Tier
from ddnn.uplink import Uplink

__all__ = ["Parts", "load_parts", "open_bundle"]

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
    keeper: Keeper

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
            keeper=self.keeper,
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
    beside: Parts | None = None,
) -> Parts:
    """Load and self-test the sections of one of `places` services, over `joined`; raise `BadBundle` or `BadConfig`.

    `transport` replaces the network on the way up, for a fleet within one process. `beside` is what this tier has
    already, of another bundle: who it is and its audit trail are the same.
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
    if not beside:
        Had(settings, tier).check(bundle)
    refuse_unlisted(bundle.topology.codecs, settings.extensions)
    identity = beside.identity if beside else None
    if settings.identity and not identity:
        identity = Identity(settings.identity, tier, settings.index)
    uplink = make_uplink(tier, settings, bundle, transport, identity)
    metrics = Metrics(bundle.topology.exits, tuple(joined), account_names(tier, bundle.topology, settings.index))
    metrics.build.labels(ddnn.__version__, tier, bundle.fingerprint[:12]).set(1)
    trail = (
        beside.trail
        if beside
        else Trail(settings.audit_dir and settings.audit_dir / f"audit-{tier}-{settings.index}.jsonl", str(tier))
    )
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
    if not beside:
        Had(settings, tier).note(bundle)
    keeper = beside.keeper if beside else Keeper(tier, bundle.topology, settings)
    metrics.doubts.set_function(lambda: keeper.kept.events)
    return Parts(tier, bundle, within_memory(settings), sections, metrics, control, uplink, identity, trail, keeper)


def _load_sections(tier: Tier, settings: Settings, bundle: Bundle) -> dict[str, Section]:
    files = bundle.sections(tier, settings.index)
    elsewhere = tier is Tier.CLOUD and settings.ray.replicas > 0
    if elsewhere:
        from ddnn.serving.on_ray import RaySection  # Ray takes seconds to load

        named = f"ddnn-{bundle.fingerprint[:12]}"
        sections: dict[str, Section] = {
            role: RaySection(file, f"{named}-{role}", settings) for role, file in files.items()
        }
    else:
        sections = {role: Section(file, settings.threads or 1) for role, file in files.items()}
    check_sections(bundle, tier, settings.index, sections, _SELF_TEST_EVENTS)
    if settings.threads is not None or not sections or elsewhere:
        return sections
    inputs = section_inputs(bundle, tier, settings.index)
    return {
        role: with_threads(section, {name: rows[:_SELF_TEST_EVENTS] for name, rows in inputs[role].items()})
        for role, section in sections.items()
    }
