"""What is wrong with a bundle or a running fleet, and what to do about it; a few golden events as its smoke test."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import EventAnswer
from ddnn.errors import BadBundle, DDNNError
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.served import ask
from ddnn.fleet.addresses import is_free, local_addresses, parse_addresses, ports, scheme_of
from ddnn.fleet.events import golden_events
from ddnn.fleet.status import TierStatus, late_lines, pressure_lines, read_statuses, running_addresses, silent_s
from ddnn.golden import check_sections
from ddnn.runtime import Section
from ddnn.types import Tier

__all__ = ["Finding", "check_answers", "check_bundle", "check_fleet", "check_ports", "diagnose", "smoke_test"]

_SHORT: Final = 12  #: digits of a fingerprint that a person is shown
_SMOKE_EVENTS: Final = 12
_DEADLINE_MS: Final = 8000.0  #: a device whose contribution goes elsewhere is waited for, for half of this


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    check: str
    verdict: Literal["ok", "warning", "failed"]
    found: str  #: what was found, as a sentence
    advice: str = ""  #: what to do; empty when all is well


def diagnose(
    path: Path, base_port: int, urls: Sequence[str], *, bundle_only: bool, token: str | None
) -> Iterator[Finding]:
    """Check the bundle in `path`, and the fleet at `urls` or on `base_port`; `bundle_only`: the ports it would have."""
    yield from check_bundle(path)
    try:
        bundle = Bundle.open(path)
    except BadBundle:
        bundle = None  # as `check_bundle` has said
    named: Mapping[str, str] = {url: url for url in parse_addresses(urls)}
    if bundle_only:
        if bundle:
            yield from check_ports(ports(base_port, len(bundle.topology.devices), len(bundle.topology.edges)))
        return
    if bundle and not named:
        shipped = path.resolve() == shipped_bundle().resolve()
        named = (running_addresses if shipped else local_addresses)(base_port, bundle.topology)
    tiers = read_statuses(named, token)
    yield from check_fleet(tiers, bundle)
    if bundle:
        yield from check_answers(tiers, bundle, token)


def check_bundle(path: Path) -> Iterator[Finding]:
    """Check that the bundle in `path` is whole and that its sections answer as torch did."""
    try:
        bundle = Bundle.open(path)
        bundle.verify()
    except BadBundle as error:
        yield Finding("bundle", "failed", str(error), "copy the bundle again, or make it again with `ddnn train`")
        return
    name, short, topology = bundle.manifest.name, bundle.fingerprint[:_SHORT], bundle.topology
    yield Finding("bundle", "ok", f"{name} {short}: {len(bundle.manifest.files)} files as they were sealed")
    below = topology.exits[:-1]
    if below and not any(bundle.policy.thresholds.of(exit) for exit in below):
        found = f"policy version {bundle.policy.version} has no threshold above 0: every event goes to the cloud"
        yield Finding("policy", "warning", found, "choose thresholds with `ddnn tune BUNDLE DATA --write`")
    for tier, count in {Tier.DEVICE: len(topology.devices), Tier.EDGE: len(topology.edges), Tier.CLOUD: 1}.items():
        for index in range(count):
            yield _check_sections(bundle, tier, index, tier.value if count == 1 else f"{tier.value}-{index}")


def check_fleet(tiers: Sequence[TierStatus], bundle: Bundle | None) -> Iterator[Finding]:
    """Check that every tier is there and ready, and that they agree with each other and with `bundle`."""
    yield from map(_check_tier, tiers)
    for tier in tiers:
        yield from _check_late(tier)
        yield from _check_pressure(tier)
    fingerprints = {tier.name: tier.fingerprint for tier in tiers if tier.fingerprint}
    if fingerprints:
        yield _check_fingerprints(fingerprints, bundle)
    versions = {tier.name: tier.policy_version for tier in tiers if tier.policy_version is not None}
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        found = f"tiers follow different policies: {listed}"
        yield Finding("policy", "warning", found, "restart those that lag behind")
    elif versions:
        yield Finding("policy", "ok", f"all follow policy version {next(iter(versions.values()))}")


def check_answers(tiers: Sequence[TierStatus], bundle: Bundle, token: str | None = None) -> Iterator[Finding]:
    """Check that the devices among `tiers` answer golden events as `bundle` does offline; if they are fit to."""
    if not all(tier.ready and tier.fingerprint == bundle.fingerprint for tier in tiers):
        return  # `check_fleet` says so
    devices = [tier for tier in tiers if tier.name.startswith(Tier.DEVICE)]
    if not devices:  # addresses a person gave, in any order
        devices = sorted((tier for tier in tiers if tier.of("tier") == Tier.DEVICE), key=lambda tier: tier.of("index"))
    if len(devices) < len(bundle.topology.devices):
        found = f"not asked: {len(devices)} of {len(bundle.topology.devices)} devices are among these addresses"
        yield Finding("answers", "warning", found, "name every device with --url to have golden events asked")
        return
    try:
        answers = smoke_test([tier.url for tier in devices], bundle, token)
    except DDNNError as error:
        advice = "does each tier have the index, the policy and the --upstream it should? start it again with those"
        if refused := [tier.name for tier in tiers if tier.part("uplink").get("refusal")]:
            advice = f"{', '.join(refused)} is refused by the tier above, so its views are missing: see to that first"
        yield Finding("answers", "failed", str(error), advice)
        return
    exits = Counter(answer.exit.value for answer in answers)
    shown = ", ".join(f"{count} at {exit}" for exit, count in exits.most_common())
    yield Finding("answers", "ok", f"{len(answers)} golden events came back as they are offline: {shown}")


def check_ports(ports: Mapping[str, int]) -> Iterator[Finding]:
    """Check that `ddnn up` could bind its ports; for a fleet that is not running."""
    taken = [f"{port} ({name})" for name, port in ports.items() if not is_free(port)]
    if taken:
        advice = "stop what listens there, or give `ddnn up` another --base-port"
        yield Finding("ports", "warning", f"in use: {', '.join(taken)}", advice)
    else:
        yield Finding("ports", "ok", f"free for `ddnn up`: {min(ports.values())} to {max(ports.values())}")


def smoke_test(urls: Sequence[str], bundle: Bundle, token: str | None = None) -> list[EventAnswer]:
    """The answers of the devices at `urls` to golden events; raise `DDNNError` unless they are those of `bundle`."""
    golden = golden_events(bundle)
    data = golden.take(np.flatnonzero(golden.present.any(axis=1))[:_SMOKE_EVENTS])
    answers = asyncio.run(ask(urls, bundle, data, token=token, deadline_ms=_DEADLINE_MS))
    if differing := agreement(bundle, data, answers).differing:
        first = differing[0]
        raise DDNNError(
            f"{len(differing)} of {len(data)} golden events came back otherwise than offline, first event"
            f" {first['index']}: label {first['label_served']} at {first['exit_served']}, expected"
            f" {first['label_offline']} at {first['exit_offline']} ({first['why']})"
        )
    return answers


def _check_sections(bundle: Bundle, tier: Tier, index: int, name: str) -> Finding:
    try:
        sections = {role: Section(file) for role, file in bundle.sections(tier, index).items()}
        events = check_sections(bundle, tier, index, sections)
    except BadBundle as error:
        return Finding(f"{name} section", "failed", str(error), "export it again; is another ONNX Runtime installed?")
    found = f"{events} golden events answered as torch answered them" if sections else "none: it passes raw views on"
    return Finding(f"{name} section", "ok", found)


def _check_tier(tier: TierStatus) -> Finding:
    if tier.status is None:
        advice = "start the fleet with `ddnn up`, or say where it is with --url or --base-port"
        if tier.hangs:
            advice = "if its log says nothing, end its process and start it again"
        elif "not trusted" in tier.problem:
            advice = "name it: SSL_CERT_FILE=SITE/authority.pem ddnn doctor …"
        elif "TLS" in tier.problem:
            advice = "is it a tier of plain HTTP? give its address as http://…"
        elif tier.listens and tier.url.startswith("http:") and scheme_of(tier.url) == "https":
            advice = "it speaks TLS: give its address as https://…, and SSL_CERT_FILE=SITE/authority.pem"
        elif tier.listens:
            advice = "is this a tier of ddnn? its log says more; a token is given with --token or DDNN_TOKEN"
        return Finding(tier.name, "failed", f"{tier.url}: {tier.problem}", advice)
    if not tier.ready:
        state = "draining" if tier.of("draining") else "not ready"
        return Finding(tier.name, "failed", f"{tier.url} is {state}", "wait a moment; its log says more")
    uplink = tier.part("uplink")
    if refusal := uplink.get("refusal"):  # the tier above is there, and takes nothing from this one
        found = f"{tier.url} is ready, but is refused: {refusal}"
        again = f"{tier.of('tier')} {tier.of('index') or 0}"
        advice = f"if it was revoked, give it a new key: `ddnn identity issue SITE {again}`; else mend what that names"
        return Finding(tier.name, "warning", found, advice)
    if uplink.get("circuit", "closed") != "closed":
        where = ", ".join(uplink.get("urls", ())) or "the tier above"
        found = f"{tier.url} is ready, but its uplink to {where} is {uplink['circuit']}: it answers degraded"
        return Finding(tier.name, "warning", found, "see why the tier above is away")
    if (silent := silent_s(tier)) is not None:
        found = f"{tier.url} is ready, but has not heard of {', '.join(uplink.get('urls', ()))} for {silent:,.0f} s"
        return Finding(tier.name, "warning", found, f"see why: {tier.part('policy')['not_followed_because']}")
    return Finding(tier.name, "ok", f"{tier.url} is ready, {tier.milliseconds:.0f} ms away")


def _check_late(tier: TierStatus) -> Iterator[Finding]:
    late = tier.part("late")
    for line in late_lines(late):
        keeps = late["keeps_ms"]
        advice = f"set the policy's wait_ms, {late['wait_ms']:,.0f} now, to {keeps:,.0f} (`ddnn policy apply`)"
        advice += f", with deadlines of {2 * keeps:,.0f} ms at least; or see what delays the device"
        yield Finding(tier.name, "warning", line, advice)


def _check_pressure(tier: TierStatus) -> Iterator[Finding]:
    for line in pressure_lines(tier.part("pressure")):
        advice = "fewer events, more cores, or fewer tiers on this machine; what else runs there?"
        yield Finding(tier.name, "warning", line, advice)


def _check_fingerprints(fingerprints: Mapping[str, str], bundle: Bundle | None) -> Finding:
    served, check = next(iter(fingerprints.values())), "fingerprints"
    if len(set(fingerprints.values())) > 1:
        listed = ", ".join(f"{name} {fingerprint[:_SHORT]}" for name, fingerprint in fingerprints.items())
        return Finding(check, "failed", f"tiers serve different bundles: {listed}", "restart them with one bundle")
    if bundle is not None and bundle.fingerprint != served:
        found = f"the fleet serves {served[:_SHORT]}; the bundle checked here is {bundle.fingerprint[:_SHORT]}"
        return Finding(check, "warning", found, "name the bundle the fleet serves: `ddnn doctor BUNDLE`")
    return Finding(check, "ok", f"all serve bundle {served[:_SHORT]}")
