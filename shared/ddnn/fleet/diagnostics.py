"""What is wrong with a bundle or a running fleet, and what to do about it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ddnn.bundle import Bundle
from ddnn.errors import BadBundle, DDNNError
from ddnn.fleet.glance import Glance
from ddnn.fleet.ports import is_free
from ddnn.types import Tier

__all__ = ["Finding", "check_answers", "check_bundle", "check_fleet", "check_ports"]

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


def check_fleet(glances: Sequence[Glance], bundle: Bundle | None) -> Iterator[Finding]:
    """Check that every tier is there and ready, and that they agree with each other and with `bundle`."""
    for glance in glances:
        yield _check_tier(glance)
    seen = {glance.name: glance.fingerprint for glance in glances if glance.fingerprint}
    if seen:
        yield _check_fingerprints(seen, bundle)
    versions = {glance.name: glance.policy_version for glance in glances if glance.policy_version is not None}
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Finding("policy", "warning", f"tiers follow different policies: {said}", "restart those that lag behind")
    elif versions:
        yield Finding("policy", "ok", f"all follow policy version {next(iter(versions.values()))}")


def check_answers(glances: Sequence[Glance], bundle: Bundle, token: str | None = None) -> Iterator[Finding]:
    """Check that the devices among `glances` answer golden events as `bundle` does offline; if they are fit to."""
    if any(glance.fingerprint != bundle.fingerprint for glance in glances if glance.status):
        return  # `check_fleet` says so
    if not all(glance.ready for glance in glances):
        return
    found = [glance for glance in glances if glance.name.startswith(Tier.DEVICE)]
    if not found:  # addresses a person gave, in any order
        given = [(glance.status["index"], glance) for glance in glances if glance.status and _is_device(glance.status)]
        found = [glance for _, glance in sorted(given, key=lambda pair: pair[0])]
    if len(found) < len(bundle.topology.devices):
        said = f"not asked: {len(found)} of {len(bundle.topology.devices)} devices are among these addresses"
        yield Finding("answers", "warning", said, "name every device with --url to have golden events asked")
        return
    from ddnn.fleet.rehearsal import rehearse

    try:
        answers = rehearse([glance.url for glance in found], bundle, token)
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


def _check_tier(glance: Glance) -> Finding:
    if glance.status is None:
        advice = "start the fleet with `ddnn up`, or say where it is with --url or --base-port"
        if glance.hangs:
            advice = "if its log says nothing, end its process and start it again"
        elif glance.listens:
            advice = "is this a tier of ddnn? its log says more; a token is given with --token or DDNN_TOKEN"
        return Finding(glance.name, "failed", f"{glance.url}: {glance.problem}", advice)
    if not glance.ready:
        why = "is draining" if glance.status.get("draining") else "is not ready"
        return Finding(glance.name, "failed", f"{glance.url} {why}", "wait a moment; its log says more")
    uplink = glance.status.get("uplink") or {}
    if uplink.get("circuit", "closed") != "closed":
        where = ", ".join(uplink.get("urls", ())) or "the tier above"
        found = f"{glance.url} is ready, but its way up to {where} is {uplink['circuit']}: it answers degraded"
        return Finding(glance.name, "warning", found, "see why the tier above is away")
    return Finding(glance.name, "ok", f"{glance.url} is ready, {glance.milliseconds:.0f} ms away")


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
