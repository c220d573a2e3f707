"""What a tier tells of itself: counts since its start, how it is, its latest events. Bounded in every part."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddnn.errors import BadInput
from ddnn.topology import Topology
from ddnn.types import Exit, Tier

__all__ = ["MOST_EVENTS", "MOST_REPORT", "MOST_VIEWS", "REPORTS_PATH", "TIER_HEADER", "TRIAL_PATH"]
__all__ += ["AccountTold", "AuditTold", "EventTold", "LateTold", "Report", "Reports", "TrialTold", "ViewTold"]
__all__ += ["key", "telling", "told_audits"]

REPORTS_PATH: Final = "/v2/reports"
TIER_HEADER: Final = "x-ddnn-tier"  #: of a tier that asks for the policy: `device/3`
TRIAL_PATH: Final = "/v2/reports/trial"  #: where it is
MOST_EVENTS: Final = 32  #: that one report has
MOST_VIEWS: Final = 8
MOST_NAME: Final = 200
MOST_SAID: Final = 600
MOST_REPORT: Final = 512 << 10  #: bytes of all that is told at once, unpacked
_MOST_TIERS: Final = 257

_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_Seconds = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Word = Annotated[str, Field(max_length=40, pattern=r"^[\w.-]*$")]
_Id = Annotated[str, Field(max_length=80)]


def key(tier: Tier, index: int) -> str:
    """The name of a tier in a picture of the fleet, `edge-0`."""
    return f"{tier}-{index}"


def telling(topology: Topology) -> Tier:
    """The lowest kind of tier that one process of hears of every event: its events and counts are the fleet's."""
    if len(topology.devices) == 1:
        return Tier.DEVICE
    return Tier.EDGE if len(topology.edges) == 1 else Tier.CLOUD


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EventTold(_Told):
    """One event that was answered."""

    n: _Count  #: its number at this tier, from 1
    id: _Id  #: its event id, cut; empty without one
    label: _Count
    exit: Exit
    confidence: _Share
    devices: str = Field(max_length=1024, pattern=r"^[01]*$")  #: who took part
    reason: _Word  #: why it is degraded; empty where it is not
    ms: _Seconds | None  #: from the first contribution to the answer, at this tier
    bytes: _Count | None  #: payload that went up for it from this tier on, where that is known
    ago_s: _Seconds  #: how long ago that was


class ViewTold(_Told):
    """A small picture of what a device saw."""

    id: _Id
    png: str = Field(max_length=6000, pattern=r"^[A-Za-z0-9+/=]*$")  #: in base64


class AuditTold(_Told):
    """What audits say of an exit: how often the cloud disagreed."""

    audited: _Count
    share: _Share
    low: _Share
    high: _Share
    promised: _Share | None
    alarm: bool


class AccountTold(_Told):
    """An account of the escalation budget."""

    left: dict[_Word, _Share] = Field(max_length=3)  #: of each kind, a share of the burst
    exceeded: _Count
    alarm: bool


class LateTold(_Told):
    """Of a device, contributions that came after their events were closed."""

    share: _Share  #: of its latest
    p50_ms: _Seconds  #: how much too late
    p95_ms: _Seconds
    cost: Annotated[float, Field(ge=-1, le=1)] | None  #: accuracy that losing the device costs, where training noted it
    keeps_ms: _Seconds  #: the policy's `wait_ms` that would have kept nearly all


class TrialTold(_Told):
    """What a tier found when it tried another policy on its decisions, as `PUT /v2/policy?dry_run=true` says it."""

    number: _Count  #: of the question
    found: dict[str, object] | None
    problem: str = Field(max_length=1000)  #: why it found nothing


class Report(_Told):
    """One tier."""

    tier: Tier
    index: int = Field(ge=0, lt=1024)
    uptime_s: _Seconds
    cpu_s: _Seconds  #: that its process has worked
    requests: _Count
    exits: dict[Exit, _Count]
    degraded: _Count
    up: _Count  #: bytes of HTTP bodies sent to the tier above
    down: _Count
    in_flight: _Count
    waiting: _Count  #: events that wait for contributions, or a section
    p50_ms: _Seconds | None  #: of the latest requests
    p95_ms: _Seconds | None
    circuit: Literal["closed", "half_open", "open"] | None  #: to the tier above
    round_trip_ms: _Seconds | None
    policy: _Count  #: version
    draining: bool
    recorded: _Count | None  #: decisions that another policy can be tried on
    below: dict[int, bool] = Field(max_length=256)  #: the children by number, and whether they are heard of
    audits: dict[Exit, AuditTold]
    budget: dict[_Word, AccountTold] = Field(max_length=_MOST_TIERS)
    events: tuple[EventTold, ...] = Field(max_length=MOST_EVENTS)
    views: tuple[ViewTold, ...] = Field(max_length=MOST_VIEWS)
    viewed: _Count = 0  #: the number of the last view
    doubts: _Count = 0  #: events that it has chosen to be labelled, and keeps
    late: dict[int, LateTold] = Field(default={}, max_length=256)  #: by device
    trial: TrialTold | None = None
    bundle: str = Field(default="", max_length=MOST_NAME)  #: the name of what it serves; without a name, its own tier's
    fingerprint: _Word = ""
    rollout: str = Field(default="", max_length=MOST_SAID)  #: how far one is that is under way, as a sentence

    @property
    def key(self) -> str:
        return key(self.tier, self.index)


class Reports(_Told):
    """A tier, then those below it of which there is news."""

    tiers: tuple[Report, ...] = Field(min_length=1, max_length=_MOST_TIERS)

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Out of JSON; raise `BadInput` naming the place."""
        try:
            return cls.model_validate(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise BadInput(f"the reports are not valid JSON ({error})") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(
                f"the reports have a mistake at {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from error


def told_audits(document: Mapping[str, object] | None) -> dict[Exit, AuditTold]:
    """Those exits that were audited, out of the `audits` of a status."""
    exits = (document or {}).get("exits")
    found: dict[Exit, AuditTold] = {}
    for name, seen in exits.items() if isinstance(exits, dict) else ():
        if seen.get("audited"):
            differ = {bound: min(1.0, max(0.0, seen["disagreement"][bound])) for bound in ("share", "low", "high")}
            alarm = seen.get("alarm") is not None
            found[Exit(name)] = AuditTold(audited=seen["audited"], promised=seen.get("promised"), alarm=alarm, **differ)
    return found
