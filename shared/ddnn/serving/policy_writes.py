"""Who may write the policy, and what a written one must be."""

from hmac import compare_digest
from typing import Any, Final

import orjson

from ddnn.bundle import Bundle
from ddnn.errors import BadInput, Forbidden, OtherBundle, StalePolicy, Unauthorized
from ddnn.policy import Policy
from ddnn.settings import Settings
from ddnn.types import Exit

__all__ = ["MOST_BYTES", "authorise", "matches", "proposed", "refuse_stale"]

MOST_BYTES: Final = 256 << 10
"""A policy's document may have."""


def authorise(settings: Settings, authorization: str | None) -> None:
    """Raise `Unauthorized` or `Forbidden` unless the header is `Bearer ` and the admin token."""
    if settings.admin_token is None:
        raise Forbidden("this tier has no admin token; set DDNN_ADMIN_TOKEN where its policy shall be written")
    if not authorization:
        raise Unauthorized("the admin token is missing; expected `Authorization: Bearer ADMIN_TOKEN`")
    expected = f"Bearer {settings.admin_token.get_secret_value()}"
    if not compare_digest(authorization.encode(), expected.encode()):
        raise Forbidden("this is not the admin token; expected the tier's DDNN_ADMIN_TOKEN after `Bearer `")


def proposed(body: bytes, bundle: Bundle, current: Policy) -> Policy:
    """The policy in `body`, one version after `current`; raise `BadInput` or `OtherBundle`."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the policy is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput("the policy is not a JSON object")
    version = current.version + 1
    policy = Policy.of({**document, "version": version})
    if policy.bundle != bundle.fingerprint:
        raise OtherBundle(
            f"the policy belongs to the bundle {policy.bundle[:12]!r}; this tier serves {bundle.fingerprint[:12]!r}"
        )
    _refuse_missing(document, bundle.topology.exits)
    if (most := max(policy.live, default=0)) > (devices := len(bundle.topology.devices)):
        raise BadInput(f"live has the count {most}; this network has {devices} devices")
    _refuse_uncalibrated(policy, bundle, current)
    return policy


def matches(header: str | None, etag: str, *, weakly: bool = False) -> bool:
    """Whether one of a header's entity tags is `etag`; `*` is any (RFC 9110, 8.8.3.2 and 13.1)."""
    tags = [tag.strip() for tag in (header or "").split(",")]
    return etag in tags or "*" in tags or (weakly and f"W/{etag}" in tags)


def refuse_stale(if_match: str | None, current: Policy) -> None:
    """Raise `StalePolicy` unless `If-Match` names the policy in force; without the header, any will do."""
    if if_match is not None and not matches(if_match, current.etag):
        raise StalePolicy(f"If-Match is {if_match[:60]}; the policy in force is {current.etag}: read it again")


def _refuse_missing(document: dict[str, Any], exits: tuple[Exit, ...]) -> None:
    """A key left out must not become a default that nobody chose."""
    parts = {"": document} | {f"live.{count}.": part for count, part in document.get("live", {}).items()}
    for where, part in parts.items():
        for key, wanted in (("thresholds", exits[:-1]), ("temperatures", exits)):
            values = part.get(key, {})
            for exit in wanted:
                if exit not in values:
                    names = ", ".join(exit.value for exit in wanted)
                    raise BadInput(f"{where}{key} has no {exit.value!r}; expected a value for each of {names}")


def _refuse_uncalibrated(policy: Policy, bundle: Bundle, current: Policy) -> None:
    """Thresholds found for one criterion mean nothing to another."""
    if policy.criterion == "agreement" and all(len(edge.devices) < 2 for edge in bundle.topology.edges):
        raise BadInput("criterion is 'agreement'; this network has no edge with two devices that could agree")
    tuned_on = (policy.tuned or {}).get("criterion", policy.criterion)
    carried = policy.tuned is None or policy.tuned == current.tuned
    if tuned_on != policy.criterion or (policy.criterion != current.criterion and carried):
        raise BadInput(
            f"criterion is {policy.criterion!r}; the thresholds were calibrated for"
            f" {current.criterion if carried else tuned_on!r}: `ddnn tune --criterion {policy.criterion}` finds others"
        )
