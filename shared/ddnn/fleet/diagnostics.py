"""What is wrong with a bundle or a running fleet, and what to do about it."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import EventAnswer
from ddnn.data import Dataset
from ddnn.errors import BadBundle, DDNNError
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.served import ask
from ddnn.fleet.addresses import is_free, local_addresses, parse_addresses, ports
from ddnn.fleet.status import TierStatus, read_statuses, running_addresses
from ddnn.types import Tier

__all__ = [
    "Finding",
    "check_answers",
    "check_bundle",
    "check_fleet",
    "check_ports",
    "diagnose",
    "golden_data",
    "smoke_test",
]

Verdict = Literal["ok", "warning", "failed"]
_SHORT: Final = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    check: str
    verdict: Verdict
    found: str
    """What was found, as a sentence."""
    advice: str = ""
    """What to do; empty when all is well."""


def diagnose(
    path: Path, *, base_port: int, urls: Sequence[str], bundle_only: bool, token: str | None
) -> Iterator[Finding]:
    """Check the bundle in `path`, and the fleet at `urls` or on `base_port`; `bundle_only`: the ports it would have."""
    yield from check_bundle(path)
    try:
        bundle = Bundle.open(path)
    except BadBundle:
        bundle = None  # as `check_bundle` has said
    if bundle_only:
        if bundle:
            yield from check_ports(ports(base_port, len(bundle.topology.devices), len(bundle.topology.edges)))
        return
    named: dict[str, str] = {url: url for url in parse_addresses(urls)}
    if not named and bundle:
        topology = bundle.topology
        shipped = path.resolve() == shipped_bundle().resolve()
        named = (
            running_addresses(base_port, topology)
            if shipped
            else local_addresses(base_port, len(topology.devices), len(topology.edges))
        )
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
    name, short = bundle.manifest.name, bundle.fingerprint[:_SHORT]
    yield Finding("bundle", "ok", f"{name} {short}: {len(bundle.manifest.files)} files as they were sealed")
    below = bundle.topology.exits[:-1]
    if below and not any(bundle.policy.thresholds.of(exit) for exit in below):
        yield Finding(
            "policy",
            "warning",
            f"policy version {bundle.policy.version} has no threshold above 0: every event goes to the cloud",
            "choose thresholds with `ddnn tune BUNDLE DATA --write`",
        )
    topology = bundle.topology
    counts = {Tier.DEVICE: len(topology.devices), Tier.EDGE: len(topology.edges), Tier.CLOUD: 1}
    for tier, count in counts.items():
        for index in range(count):
            yield _check_sections(bundle, tier, index, tier.value if count == 1 else f"{tier.value}-{index}")


def check_fleet(tiers: Sequence[TierStatus], bundle: Bundle | None) -> Iterator[Finding]:
    """Check that every tier is there and ready, and that they agree with each other and with `bundle`."""
    for tier in tiers:
        yield _check_tier(tier)
    seen = {tier.name: tier.fingerprint for tier in tiers if tier.fingerprint}
    if seen:
        yield _check_fingerprints(seen, bundle)
    versions = {tier.name: tier.policy_version for tier in tiers if tier.policy_version is not None}
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Finding("policy", "warning", f"tiers follow different policies: {said}", "restart those that lag behind")
    elif versions:
        yield Finding("policy", "ok", f"all follow policy version {next(iter(versions.values()))}")


def check_answers(tiers: Sequence[TierStatus], bundle: Bundle, token: str | None = None) -> Iterator[Finding]:
    """Check that the devices among `tiers` answer golden events as `bundle` does offline; if they are fit to."""
    if any(tier.fingerprint != bundle.fingerprint for tier in tiers if tier.status):
        return  # `check_fleet` says so
    if not all(tier.ready for tier in tiers):
        return
    found = [tier for tier in tiers if tier.name.startswith(Tier.DEVICE)]
    if not found:  # addresses a person gave, in any order
        given = [(tier.status["index"], tier) for tier in tiers if tier.status and _is_device(tier.status)]
        found = [tier for _, tier in sorted(given, key=lambda pair: pair[0])]
    if len(found) < len(bundle.topology.devices):
        said = f"not asked: {len(found)} of {len(bundle.topology.devices)} devices are among these addresses"
        yield Finding("answers", "warning", said, "name every device with --url to have golden events asked")
        return
    try:
        answers = smoke_test([tier.url for tier in found], bundle, token)
    except DDNNError as error:
        advice = "does each tier have the index, the policy and the --upstream it should? start it again with those"
        yield Finding("answers", "failed", str(error), advice)
        return
    exits = Counter(answer.exit.value for answer in answers)
    shown = ", ".join(f"{count} at {exit}" for exit, count in exits.most_common())
    yield Finding("answers", "ok", f"{len(answers)} golden events came back as they are offline: {shown}")


def check_ports(wanted: Mapping[str, int]) -> Iterator[Finding]:
    """Check that `ddnn up` could bind its ports; for a fleet that is not running."""
    taken = [f"{port} ({name})" for name, port in wanted.items() if not is_free(port)]
    if taken:
        advice = "stop what listens there, or give `ddnn up` another --base-port"
        yield Finding("ports", "warning", f"in use: {', '.join(taken)}", advice)
    else:
        yield Finding("ports", "ok", f"free for `ddnn up`: {min(wanted.values())} to {max(wanted.values())}")


def _is_device(status: Mapping[str, Any]) -> bool:
    return bool(status["tier"] == Tier.DEVICE)


def _check_sections(bundle: Bundle, tier: Tier, index: int, name: str) -> Finding:
    from ddnn.golden import check_sections
    from ddnn.runtime import Section

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
        elif tier.listens:
            advice = "is this a tier of ddnn? its log says more; a token is given with --token or DDNN_TOKEN"
        return Finding(tier.name, "failed", f"{tier.url}: {tier.problem}", advice)
    if not tier.ready:
        why = "is draining" if tier.status.get("draining") else "is not ready"
        return Finding(tier.name, "failed", f"{tier.url} {why}", "wait a moment; its log says more")
    uplink = tier.status.get("uplink") or {}
    if uplink.get("circuit", "closed") != "closed":
        where = ", ".join(uplink.get("urls", ())) or "the tier above"
        found = f"{tier.url} is ready, but its uplink to {where} is {uplink['circuit']}: it answers degraded"
        return Finding(tier.name, "warning", found, "see why the tier above is away")
    return Finding(tier.name, "ok", f"{tier.url} is ready, {tier.milliseconds:.0f} ms away")


def _check_fingerprints(seen: Mapping[str, str], bundle: Bundle | None) -> Finding:
    if len(set(seen.values())) > 1:
        said = ", ".join(f"{name} {fingerprint[:_SHORT]}" for name, fingerprint in seen.items())
        return Finding(
            "fingerprints", "failed", f"tiers serve different bundles: {said}", "restart them with one bundle"
        )
    served = next(iter(seen.values()))
    if bundle is not None and bundle.fingerprint != served:
        found = f"the fleet serves {served[:_SHORT]}; the bundle checked here is {bundle.fingerprint[:_SHORT]}"
        return Finding("fingerprints", "warning", found, "name the bundle the fleet serves: `ddnn doctor BUNDLE`")
    return Finding("fingerprints", "ok", f"all serve bundle {served[:_SHORT]}")


_SMOKE_EVENTS: Final = 12
_DEADLINE_MS: Final = 8000.0
"""A device whose contribution goes elsewhere is waited for, for half of this."""


def smoke_test(urls: Sequence[str], bundle: Bundle, token: str | None = None) -> list[EventAnswer]:
    """Return what the devices at `urls` say of a few golden events of `bundle`.

    Raises `DDNNError` unless label, exit, probabilities and the devices that took part are those of the offline run.
    """
    data = golden_data(bundle)
    answers = asyncio.run(ask(urls, bundle, data, token=token, deadline_ms=_DEADLINE_MS))
    found = agreement(bundle, data, answers)
    if not found.ok:
        first = found.differing[0]
        raise DDNNError(
            f"{len(found.differing)} of {len(data)} golden events came back otherwise than offline, first event"
            f" {first['index']}: label {first['label_served']} at {first['exit_served']}, expected"
            f" {first['label_offline']} at {first['exit_offline']} ({first['why']})"
        )
    return answers


def golden_data(bundle: Bundle, most: int = _SMOKE_EVENTS) -> Dataset:
    """The first golden events of `bundle` that some device sees, as a data set."""
    golden = bundle.golden
    present = golden["present"].astype(np.bool_)
    whole = Dataset(
        name="golden",
        views=tuple(golden[f"view_{device}"] for device in range(len(bundle.topology.devices))),
        y=golden["y"],
        y_dev=golden["y_dev"],
        present=present,
        classes=bundle.manifest.classes,
        split=np.full(len(present), "test"),
        grid=None,
        index=golden["index"],
        fingerprint=bundle.fingerprint,
        source={},
    )
    return whole.take(np.flatnonzero(present.any(axis=1))[:most])
