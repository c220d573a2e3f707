"""What every tier of a running fleet says of itself, and how a person is shown it: a table, then what is wrong."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.errors import BadInput, DDNNError
from ddnn.fleet.addresses import HOST, addresses_of, local_addresses, ports, scheme_at
from ddnn.formatting import NONE, percent, plain_table
from ddnn.topology import Topology

__all__ = ["NO_TIER", "TierStatus", "audit_line", "budget_lines", "check_served", "late_lines"]
__all__ += [
    "outlier_lines",
    "pressure_lines",
    "print_statuses",
    "read_statuses",
    "rollout_line",
    "running_addresses",
    "silent_s",
]

NO_TIER: Final = "No tier answers. `ddnn up` starts a fleet."
_TIMEOUT_S: Final = 3.0
_SILENCE_S: Final = 3.0
UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"  #: in what OpenSSL says


@dataclass(frozen=True, slots=True)
class TierStatus:
    """One tier, asked once."""

    name: str
    url: str
    status: Mapping[str, Any] | None  #: its `GET /v2/status`; None when it gave none
    milliseconds: float  #: how long that took
    problem: str = ""  #: why there is none, in a few words
    listens: bool = True  #: whether anything takes connections there
    hangs: bool = False  #: whether it took the request and did not answer

    @property
    def ready(self) -> bool:
        """Whether it answers and says it is ready."""
        return bool(self.of("ready"))

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the bundle it serves."""
        return self.part("bundle").get("fingerprint")

    @property
    def policy_version(self) -> int | None:
        """Version of the policy it follows."""
        return self.part("policy").get("version")

    def of(self, key: str) -> Any:
        """One value of its status; None when there is none."""
        return (self.status or {}).get(key)

    def part(self, key: str) -> Mapping[str, Any]:
        """One part of its status, such as `policy`; empty when there is none."""
        return self.of(key) or {}

    def document(self) -> dict[str, Any]:
        """The same as data, for `--json`."""
        milliseconds = round(self.milliseconds, 3)
        own = {"name": self.name, "url": self.url, "ready": self.ready, "milliseconds": milliseconds}
        return {**own, "problem": self.problem, "status": self.status}


def read_statuses(urls: Mapping[str, str] | Sequence[str], token: str | None = None) -> list[TierStatus]:
    """Ask every tier in `urls` for its status, all at once; addresses without names are their own names."""
    named = urls if isinstance(urls, Mapping) else {url: url for url in urls}
    with ThreadPoolExecutor(max(1, len(named))) as threads:
        return list(threads.map(partial(_read, token=token), named, named.values()))


def running_addresses(base_port: int, topology: Topology) -> dict[str, str]:
    """Addresses by name of the fleet on `base_port`: a running tier knows how many there are, else `topology` does."""
    for port in (base_port, base_port + 1, base_port + 10):  # the cloud, an edge, a device
        url = f"{(scheme := scheme_at(port))}://{HOST}:{port}"
        with suppress(DDNNError, KeyError, TypeError), Client(url, timeout_s=_TIMEOUT_S) as client:
            edges = [len(devices) for devices in client.metadata()["parameters"]["edges"]]
            if edges:
                return addresses_of(ports(base_port, sum(edges), len(edges)), scheme)
    return local_addresses(base_port, topology)


def check_served(devices: Sequence[TierStatus], bundle: Bundle, flag: str) -> None:
    """Raise `BadInput`, naming `flag`, if devices answer and none of them serves `bundle`."""
    served = {tier.fingerprint: tier for tier in devices if tier.fingerprint}
    if served and bundle.fingerprint not in served:
        fingerprint, tier = next(iter(served.items()))
        raise BadInput(
            f"this fleet serves {tier.part('bundle').get('name', 'another bundle')} ({str(fingerprint)[:12]}), not"
            f" {bundle.manifest.name} ({bundle.fingerprint[:12]}); give {flag}"
        )


def _read(name: str, url: str, token: str | None) -> TierStatus:
    with Client(url, token, timeout_s=_TIMEOUT_S) as client:
        began = time.perf_counter()
        status, problem, listens, hangs = None, "", True, False
        try:
            status = client.status()
        except DDNNError as error:
            problem, listens, hangs = _problem(error)
    return TierStatus(name, url, status, (time.perf_counter() - began) * 1000, problem, listens, hangs)


def _problem(error: DDNNError) -> tuple[str, bool, bool]:
    """What is wrong, whether anything listens, whether it hangs."""
    cause = error.__cause__
    if isinstance(cause, httpx.ConnectError):
        if UNTRUSTED in str(cause):
            return "its certificate is of an authority that is not trusted here", True, False
        if "SSL" not in str(cause):
            return "nothing listens there", False, False
        return "it does not speak TLS", True, False
    if isinstance(cause, httpx.ConnectTimeout):
        return f"no connection within {_TIMEOUT_S:.0f} s", False, False
    if isinstance(cause, httpx.TimeoutException):
        return "it is up but does not answer; look at its log", True, True
    return str(cause or error), True, False


def print_statuses(tiers: Sequence[TierStatus], console: Console) -> None:
    """Print what every tier says of itself."""
    table = plain_table("tier", "address", "state", "requests", "answered at", "uplink")
    for column in table.columns:
        column.no_wrap = column.header != "answered at"
    table.columns[3].justify = "right"
    for tier in tiers:
        table.add_row(*_row(tier))
    console.print(table)
    for network, names in _networks(tiers).items():
        console.print(f"\n{', '.join(names)}: {network}", soft_wrap=True, markup=False)
    if line := rollout_line(tiers):
        console.print(line, soft_wrap=True, markup=False)
    for tier in tiers:
        if line := audit_line(tier.part("audits")):
            console.print(f"{tier.name} {line}", soft_wrap=True)
    for tier in tiers:
        for line in (*budget_lines(tier.part("budget")), *outlier_lines(tier.part("outliers"))):
            console.print(f"{tier.name} {line}", soft_wrap=True)
    for tier in tiers:
        for line in late_lines(tier.part("late")):
            console.print(f"{tier.name} [yellow]{line}[/]", soft_wrap=True)
    for tier in tiers:
        for line in pressure_lines(tier.part("pressure")):
            console.print(f"{tier.name} [yellow]{line}[/]", soft_wrap=True)
    for tier in tiers:
        if tier.problem and tier.listens:
            console.print(f"{tier.name}: {tier.problem}", soft_wrap=True, markup=False)
        if refusal := tier.part("uplink").get("refusal"):
            console.print(f"{tier.name} is refused: {refusal}", soft_wrap=True, markup=False)
    if not any(tier.listens for tier in tiers):
        console.print(NO_TIER, markup=False)


def rollout_line(tiers: Sequence[TierStatus]) -> str | None:
    """How far a rollout is, by the highest tier that answers; None where none is under way."""
    ranks = {"cloud": 0, "edge": 1, "device": 2}
    told = [tier for tier in tiers if tier.part("rollout")]
    highest = min(told, key=lambda tier: ranks.get(str(tier.of("tier")), 3), default=None)
    if highest is None or not (rollout := highest.part("rollout"))["open"]:
        return None
    return f"rollout: {rollout['says']}" + (f"; it waits: {rollout['problem']}" if rollout["problem"] else "")


def audit_line(audits: Mapping[str, Any]) -> str | None:
    """The `audits` of a tier's status as rich markup, red where an alarm is; None when there is nothing to say."""
    share = audits.get("share") or 0
    audited = {exit: seen for exit, seen in (audits.get("exits") or {}).items() if seen.get("audited")}
    if audits.get("off"):
        return f"no audits: {audits['off']}" if share else None
    if not audited:
        return f"audits {percent(share)} of its sure answers; none yet" if share else None
    parts = [_audited(exit, seen) for exit, seen in audited.items()]
    promised = {name: seen for name, seen in (audits.get("classes") or {}).items() if seen.get("promised") is not None}
    parts += [_audited_class(name, seen) for name, seen in promised.items() if seen.get("audited")]
    return "audits: " + " · ".join(parts)


def budget_lines(budget: Mapping[str, Any]) -> list[str]:
    """What was answered below for each account of a tier's `budget`, as rich markup, red where an alarm is."""
    return [
        _marked(f"escalation budget of {whose}: {seen['exceeded']:,} events answered below", seen["alarm"])
        for whose, seen in budget.items()
        if seen["exceeded"]
    ]


def outlier_lines(outliers: Mapping[str, Any]) -> list[str]:
    """Which devices a tier's `outliers` say are set aside, as rich markup."""
    said = "as it contradicts the others"
    aside = outliers.get("aside", {})
    return [_marked(f"sets device {device} aside, {said}", {"since": since}) for device, since in aside.items()]


def late_lines(late: Mapping[str, Any]) -> list[str]:
    """Whose contributions came after their events were closed, by the `late` of a tier's status, a sentence each."""
    lines = []
    for each in late.get("children") or ():
        names = "device " + " and ".join(map(str, each["devices"]))
        line = f"{names} too late for {each['late']:,} of its latest {each['of']:,} events: {each['p50_ms']:,.0f} ms"
        line += f" at p50, {each['p95_ms']:,.0f} ms at p95; {each['keeps_ms']:,.0f} ms would keep it"
        if None not in (whole := late.get("accuracy"), without := each.get("accuracy_without")):
            line += f", accuracy {percent(whole)} with it, {percent(without)} without"
        lines.append(line)
    return lines


def pressure_lines(pressure: Mapping[str, Any]) -> list[str]:
    """What a tier sheds, and why, by the `pressure` of its status, in a sentence; nothing where it sheds nothing."""
    share, above = pressure.get("share") or 0.0, pressure.get("above") or 0.0
    if not max(share, above):
        return []
    line = f"sheds {percent(share, 0)} of its events" if share else "sheds nothing of its own accord"
    line += f", the tier above {percent(above, 0)}" if above else ""
    line += f": its event loop is {pressure['late_ms']:,.0f} ms late"
    if (cpu := pressure.get("cpu")) is not None:
        line += f", and something waits for a CPU for {percent(cpu, 0)} of the time ({pressure['cpu_from']})"
    return [line]


def _audited(exit: str, seen: Mapping[str, Any]) -> str:
    differ, promised, alarm = seen["disagreement"], seen.get("promised"), seen.get("alarm")
    text = f"{exit} {percent(differ['share'])} unlike the cloud ({percent(differ['low'])} to {percent(differ['high'])}"
    text += f", {seen['audited']:,} audited)"
    if promised is not None:
        text += f", promised {percent(promised)}"
    if (distance := seen["confidence"].get("distance")) is not None:
        text += f", confidences {distance:.2f} from the usual"
    return _marked(text, alarm)


def _audited_class(name: str, seen: Mapping[str, Any]) -> str:
    recall = seen["recall"]
    text = f"class {name} {percent(recall['share'])} the cloud's ({percent(recall['low'])} to {percent(recall['high'])}"
    return _marked(f"{text}, {seen['audited']:,} audited), promised {percent(seen['promised'])}", seen.get("alarm"))


def _marked(text: str, alarm: Mapping[str, Any] | None) -> str:
    """In red, with its time, where there is an alarm."""
    if alarm is None:
        return text
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(alarm["since"]))
    return f"[red]{text}, alarm since {since} UTC[/]"


def _networks(tiers: Sequence[TierStatus]) -> dict[str, list[str]]:
    """Which tiers serve which bundle under which policy; one entry when all agree."""
    networks: dict[str, list[str]] = {}
    for tier in tiers:
        if tier.fingerprint:
            name = tier.part("bundle").get("name", "")
            network = f"bundle {name} {tier.fingerprint[:12]}, policy version {tier.policy_version}"
            networks.setdefault(network, []).append(tier.name)
    return {network: ["all"] for network in networks} if len(networks) == 1 else networks


def _row(tier: TierStatus) -> tuple[str, ...]:
    name, address, status = tier.name, tier.url.removeprefix("http://"), tier.status
    if status is None:
        return name, address, f"[red]{'no answer' if tier.listens else 'not there'}[/]", NONE, NONE, NONE
    if name == tier.url:
        index = f"-{status['index']}" if status.get("tier") in ("device", "edge") else ""
        name = f"{status.get('tier', '?')}{index}"
    away = "[yellow]draining[/]" if status.get("draining") else "[red]not ready[/]"
    state = "[green]ready[/]" if tier.ready else away
    return name, address, state, f"{status.get('requests', 0):,}", _exits(status), _uplink(tier)


def _exits(status: Mapping[str, Any]) -> str:
    counts = {exit: count for exit, count in (status.get("exits") or {}).items() if count}
    shares = " · ".join(f"{exit} {percent(count / sum(counts.values()), 0)}" for exit, count in counts.items())
    degraded = status.get("degraded", 0)
    return (shares or NONE) + (f"  [yellow]{degraded:,} degraded[/]" if degraded else "")


def silent_s(tier: TierStatus) -> float | None:
    """Since when the tier above has not answered this one, in seconds; None while it does, or where there is none.

    Events tell of it only once one of them has to go up. One question without an answer is no silence: the next comes
    half a second later, and tiers of a fleet that starts are not ready together.
    """
    policy = tier.part("policy")
    if not tier.part("uplink") or not policy.get("not_followed_because"):
        return None
    heard = policy.get("followed_s_ago")
    silent = float(tier.of("uptime_seconds") or 0.0) if heard is None else float(heard)
    return silent if silent >= _SILENCE_S else None


def _uplink(tier: TierStatus) -> str:
    uplink = tier.part("uplink")
    if not uplink:
        return NONE
    if uplink.get("circuit") == "closed" and (silent := silent_s(tier)) is not None:
        return f"[red]silent {silent:,.0f} s[/]"
    circuit, trip = uplink.get("circuit", "?"), uplink.get("round_trip_ms")
    return ("[green]ok[/]" if circuit == "closed" else f"[red]{circuit}[/]") + (f" {trip:.1f} ms" if trip else "")
