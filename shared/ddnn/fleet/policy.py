"""The policy of a running fleet, from outside: read and written at the tier that decides, then followed everywhere."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ddnn.client.admin import Admin
from ddnn.errors import BadInput, DDNNError, Unavailable
from ddnn.fleet.status import NO_TIER, TierStatus, read_statuses
from ddnn.policy import POLICY_FILE, Policy
from ddnn.seal import read_sealed
from ddnn.serving.ledger import merge

__all__ = ["FleetPolicy", "differences", "flat", "read_policy", "with_budget"]

_SEAL: Final = "checksum"
_OF_A_TIER: Final = ("version", "etag", "source", "kept", "not_kept_because", "followed_s_ago", "not_followed_because")


class FleetPolicy:
    """The policy of the fleet whose tiers are at `urls`; to change it, the cloud must be among those that answer."""

    def __init__(
        self, urls: Mapping[str, str] | Sequence[str], token: str | None = None, *, admin_token: str | None = None
    ) -> None:
        self._token, self._admin_token = token, admin_token
        self.statuses = read_statuses(urls, token)
        self._answering = _answering(self.statuses)

    @property
    def _source(self) -> TierStatus:
        return _source(self._answering)

    def read(self) -> Policy:
        """The policy in force; without a cloud that answers, the newest that a tier goes on with."""
        followed = [tier for tier in self._answering if tier.part("uplink")]
        newest = max(followed, key=lambda tier: int(tier.part("policy").get("version") or 0), default=None)
        tier = newest if newest and len(followed) == len(self._answering) else self._source
        with self._admin(tier) as tier_asked:
            return tier_asked.read_policy()

    def tiers(self) -> list[dict[str, Any]]:
        """Which tier has which version, where from, and whether it keeps it."""
        return [
            {"name": tier.name, "url": tier.url, "problem": tier.problem}
            | {key: tier.part("policy").get(key) for key in _OF_A_TIER}
            for tier in self.statuses
        ]

    def apply(self, policy: Policy, *, over: Policy) -> dict[str, Any]:
        """Put a policy in force, unless another than `over` has come into force; return its version, etag and notes."""
        with self._admin(self._source) as source:
            return source.write_policy(policy, over=over)

    def roll_back(self, *, over: Policy) -> dict[str, Any]:
        """Put the policy before `over` in force again; return its version, etag and notes."""
        with self._admin(self._source) as source:
            return source.roll_back_policy(over=over)

    def try_out(self, policy: Policy, note: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
        """What a policy would have made of all recorded decisions; another tier that refuses gets a `note`."""
        with self._admin(self._source) as source:
            reports = [source.try_policy(policy)]
        for tier in self.statuses:
            if tier.url != self._source.url and tier.of("recorded"):
                try:
                    with self._admin(tier) as other:
                        reports.append(other.try_policy(policy))
                except DDNNError as error:
                    note(f"{tier.name} was not asked: {error}")
        return {"dry_run": merge(reports), "tiers": [report for report in reports if report["events"]]}

    def wait(
        self, etag: str, seconds: float, progress: Callable[[int, int], object] = lambda done, all: None
    ) -> dict[str, bool]:
        """By name, whether each tier that answers has the policy `etag`, asked until all do or `seconds` are over."""
        urls = {tier.name: tier.url for tier in self.statuses if tier.status is not None}
        until = time.monotonic() + seconds
        while True:
            tiers = [tier for tier in read_statuses(urls, self._token) if tier.status is not None]
            follows = {tier.name: tier.part("policy").get("etag") == etag for tier in tiers}
            progress(sum(follows.values()), len(follows))
            if all(follows.values()) or time.monotonic() > until:
                return follows
            time.sleep(0.1)

    def _admin(self, tier: TierStatus) -> Admin:
        return Admin(tier.url, self._token, admin_token=self._admin_token)


def read_policy(path: Path) -> Policy:
    """Read the policy of a bundle, or a JSON file of one, sealed or not, or what `show --json` printed.

    Raises `BadInput` naming the file or the key.
    """
    file = path / POLICY_FILE if path.is_dir() else path
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput(f"{file}: is not a JSON object; expected a policy")
    if "etag" in document and isinstance(document.get("policy"), dict):
        document = document["policy"]
    if _SEAL in document:
        document = read_sealed(file, seal=_SEAL)
        del document[_SEAL]
    return Policy.of(document)


def with_budget(policy: Policy, site: Sequence[str], device: Sequence[str], burst_s: float | None) -> Policy:
    """The policy with another escalation budget: `KIND=NUMBER` of the site and of each device; raise `BadInput`."""
    budget = policy.budget.model_dump(mode="json")
    for flag, limits in (("site", site), ("device", device)):
        for limit in limits:
            kind, _, value = limit.partition("=")
            if kind not in budget[flag]:
                raise BadInput(f"--{flag} {limit!r} names {kind!r}; expected one of {', '.join(budget[flag])}")
            try:
                budget[flag][kind] = None if value == "none" else float(value)
            except ValueError as error:
                raise BadInput(f"--{flag} {limit!r} has no number; expected {kind}=NUMBER or {kind}=none") from error
    if burst_s is not None:
        budget["burst_s"] = burst_s
    return Policy.of({**policy.model_dump(mode="json"), "budget": budget})


def differences(running: Policy, proposed: Policy) -> list[dict[str, Any]]:
    """`key`, `running` and `proposed` of every key that differs, nested ones joined by dots; a version is none."""
    before, after = (
        flat(policy.model_dump(mode="json", exclude={"version", "signature"})) for policy in (running, proposed)
    )
    return [
        {"key": key, "running": before.get(key), "proposed": after.get(key)}
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A document's values by their keys, nested ones joined by dots."""
    values: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[prefix + key] = None if value == {} else value
    return values


def _answering(statuses: Sequence[TierStatus]) -> list[TierStatus]:
    """The tiers that answer; raise `Unavailable` where none does."""
    answering = [tier for tier in statuses if tier.status is not None]
    if not answering:
        raise Unavailable(next((tier.problem for tier in statuses if tier.listens), NO_TIER))
    return answering


def _source(answering: Sequence[TierStatus]) -> TierStatus:
    """The tier that follows no other, so that takes writes; raise `Unavailable` or `BadInput`."""
    sources = [tier for tier in answering if not tier.part("uplink")]
    if not sources:
        names = ", ".join(tier.name for tier in answering)
        raise Unavailable(f"the cloud does not answer, and {names} only follow it; expected the cloud among them")
    if len({tier.fingerprint for tier in sources}) > 1:
        raise BadInput(f"{', '.join(tier.url for tier in sources)} are clouds of several bundles; name one fleet")
    return sources[0]
