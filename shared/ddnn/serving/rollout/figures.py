"""What the old and the new bundle did at the edge while both were served, and whether the new one may stay."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from ddnn.errors import BadInput
from ddnn.serving.service import Service

__all__ = ["Figures", "fault", "together"]

_ENOUGH: Final = 20  #: events, or audits, of which a share says something
_DEGRADED: Final = 0.05  #: as much larger may the share of degraded answers be
_SLOWER: Final = 1.5  #: so many times as long may half of the requests take …
_SLOWER_S: Final = 0.02  #: … and this much longer at any rate


@dataclass(frozen=True)
class Figures:
    """Of one bundle at one tier."""

    answered: int = 0
    degraded: int = 0
    p50_s: float = 0.0
    """Of the latest requests; 0 without any."""
    p95_s: float = 0.0
    audited: int = 0
    differ_low: float = 0.0
    """Share of audited answers that the cloud gave otherwise: 95 % interval of the worst exit."""
    differ_high: float = 1.0

    @classmethod
    def of(cls, service: Service, since: "Figures | None" = None) -> Self:
        """Those of a service, counts `since` those that it had then."""
        counts, degraded = service.metrics.exit_counts(service.bundle.topology.exits)
        times = sorted(took for _, took in service.metrics.latest)
        audits = service.engine.audits
        exits: dict[str, Any] = (audits.document().get("exits") or {}) if audits else {}
        seen = [each for each in exits.values() if each.get("audited")]
        return cls(
            sum(counts.values()) - (since.answered if since else 0),
            degraded - (since.degraded if since else 0),
            times[len(times) // 2] if times else 0.0,
            times[int(0.95 * len(times))] if times else 0.0,
            sum(each["audited"] for each in seen),
            max((each["disagreement"]["low"] for each in seen), default=0.0),
            max((each["disagreement"]["high"] for each in seen), default=1.0),
        )

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Self:
        """What `text` wrote; raise `BadInput`."""
        try:
            document = json.loads(text[:1000])
            return cls(**{name: type(value)(document[name]) for name, value in asdict(cls()).items()})
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput("the figures of a rollout are no JSON object of numbers") from error


def fault(old: Figures, new: Figures) -> str:
    """Why the new bundle is worse than the old one, as a sentence; empty while it is not known to be."""
    if new.answered >= _ENOUGH:
        before, after = (each.degraded / max(1, each.answered) for each in (old, new))
        if after > before + _DEGRADED:
            return f"{after:.0%} of its answers were degraded, {before:.0%} of the old one's"
        # By the median: few events, and a collector that learns anew who is away, make no quantile beyond.
        if old.p50_s and new.p50_s > max(_SLOWER * old.p50_s, old.p50_s + _SLOWER_S):
            return (
                f"half of its requests took {new.p50_s * 1000:.0f} ms and more, of the old one's {old.p50_s * 1000:.0f}"
            )
    if new.audited >= _ENOUGH and old.audited >= _ENOUGH and new.differ_low > old.differ_high:
        share = f"{new.differ_low:.0%} at least of its audited answers differ from the cloud's"
        return f"{share}, {old.differ_high:.0%} at most of the old one's"
    return ""


def together(seen: Collection[tuple[Figures, Figures]]) -> tuple[Figures, Figures] | None:
    """Those of several tiers as one: counts in all, times and intervals of the worst; None without any."""
    if not seen:
        return None
    old, new = (_together(some) for some in zip(*seen, strict=True))
    return old, new


def _together(some: Collection[Figures]) -> Figures:
    return Figures(
        sum(each.answered for each in some),
        sum(each.degraded for each in some),
        max(each.p50_s for each in some),
        max(each.p95_s for each in some),
        sum(each.audited for each in some),
        max(each.differ_low for each in some),
        max(each.differ_high for each in some),
    )
