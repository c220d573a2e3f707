"""What strangers' scanners, fuzzers and slow connections do to a fleet over mutual TLS, and to who asks it meanwhile.

`python -m ddnn_lab.benchmarks.scan --minutes 10 --out DIR`: a fleet of the shipped bundle as processes on 127.0.0.1,
with an identity and tokens. Each scan has so many minutes, shared out among the tiers that it is sent to, and is that
of somebody who has a caller's token, the key of a tier below, or nothing. Six sensors ask all the while, from another
address. Attackers here share the fleet's cores: they are nice, and nothing is shed. Linux, for its many addresses of
loopback and its high-water marks of memory. Needs `ddnn[lab]`, and `ddnn[test]` for schemathesis.

Exit code 1: an error of ours (500), a traceback, a tier that ended or grew beyond a container's memory, a request of
the sensors that was lost.
"""

import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from typer import Option

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.connections import trusted
from ddnn.fleet.processes import LocalFleet
from ddnn_lab.benchmarks import RESULTS, Out, command, environment, write
from ddnn_lab.load import FleetTarget, Poisson, measure
from ddnn_lab.scans.bodies import fuzz_bodies
from ddnn_lab.scans.held import Attack, Held
from ddnn_lab.scans.scanners import NICE, SCANNERS
from ddnn_lab.scans.slow import SLOW
from ddnn_lab.scans.streams import fuzz_streams

__all__: list[str] = []

_LIMIT: Final = 256 << 20  #: bytes that a container may take
_WARM_UP_S: Final = 1.0
_ATTACKS: Final[dict[str, tuple[tuple[str, ...], Attack]]] = {
    "bodies": (("device-0", "edge", "cloud"), fuzz_bodies),
    "streams": (("edge", "cloud"), fuzz_streams),
    **{name: (("device-0", "edge"), attack) for name, attack in SLOW.items()},
}
_ALONE_S: Final = 15.0  #: that the sensors ask for without a scan


class _Watch:
    """What one scan does to the fleet."""

    def __init__(self, fleet: LocalFleet) -> None:
        self._fleet = fleet
        self._before = self._ours()
        self.memory = {name: self._kilobytes(name, "VmRSS") for name in fleet.members}
        for name in fleet.members:
            Path(f"/proc/{fleet.pid(name)}/clear_refs").write_text("5")  # the high-water mark, anew

    def ended(self, honest: dict[str, Any]) -> dict[str, Any]:
        """Its figures, and what is wrong in them."""
        gone = [member.how_it_ended() for member in self._fleet.stopped()]
        ours = {} if gone else {name: count - self._before[name] for name, count in self._ours().items()}
        memory = {
            name: [1024 * was, 1024 * self._kilobytes(name, "VmHWM")] for name, was in self.memory.items() if not gone
        }
        faults = [*gone, *(f"{count} {name}" for name, count in ours.items() if count)]
        faults += [f"{name}: {peak >> 20} MB" for name, (_, peak) in memory.items() if peak > _LIMIT]
        faults += [f"{honest['events'] - honest['answered']} lost"] if honest["events"] > honest["answered"] else []
        return {"memory": memory, "honest": honest, "faults": faults}

    def _ours(self) -> dict[str, int]:
        """Errors of ours until now: by each tier's own count, and in its log."""
        found = {}
        for name, member in self._fleet.members.items():
            text = httpx.get(f"{member.url}/metrics", verify=trusted(member.url), timeout=30, trust_env=False).text
            counted = [line for line in text.splitlines() if line.startswith('ddnn_requests_total{code="500"}')]
            found[f"answers 500 of {name}"] = int(sum(float(line.split()[-1]) for line in counted))
            found[f"tracebacks of {name}"] = member.log.read_text(errors="replace").count("Traceback")
        return found

    def _kilobytes(self, name: str, what: str) -> int:
        status = Path(f"/proc/{self._fleet.pid(name)}/status").read_text()
        return int(status.split(f"{what}:")[1].split()[0])


@contextmanager
def _fleet() -> Iterator[tuple[LocalFleet, Held]]:
    with tempfile.TemporaryDirectory(prefix="ddnn-scan-") as folder:
        site, token, admin = Path(folder) / "site", secrets.token_hex(16), secrets.token_hex(16)
        os.environ["SSL_CERT_FILE"] = str(site / "authority.pem")
        env = {"DDNN_TOKEN": token, "DDNN_ADMIN_TOKEN": admin, "DDNN_MAX_LAG_MS": "0"}
        with LocalFleet(shipped_bundle(), base_port=0, identity=site, env=env) as fleet:
            fleet.wait_until_ready(seconds=120)
            urls = {name: member.url for name, member in fleet.members.items()}
            yield fleet, Held(site, fleet.bundle.path, urls, token, admin)


def _ask(fleet: LocalFleet, held: Held, seconds: float, rate: float) -> dict[str, Any]:
    """What became of the sensors' events."""
    golden = Bundle.open(held.bundle).golden
    views = [golden[f"view_{n}"] for n in range(len(fleet.device_urls))]
    target = FleetTarget(fleet.device_urls, views, golden["y"], token=held.token)
    found = measure(target, Poisson(rate), seconds=seconds, warm_up_s=_WARM_UP_S)
    latency = found.latency_ms or {"p50": 0.0, "p99": 0.0}
    counts = {name: getattr(found, name) for name in ("events", "answered", "in_time", "degraded", "labelled", "right")}
    told = {"reasons": dict(found.reasons), "errors": dict(found.errors)}
    return {**counts, **told, "p50_ms": latency["p50"], "p99_ms": latency["p99"]}


@dataclass(frozen=True)
class _Scan:
    name: str
    tier: str
    seconds: float
    do: Callable[[], dict[str, Any]]  #: gives what it did and what came back, or what was said
    skipped: str = ""  #: why it cannot be done here


def _attacks(held: Held, minutes: float) -> Iterator[_Scan]:
    for name, (tiers, attack) in _ATTACKS.items():
        seconds = 60 * minutes / len(tiers) / (len(SLOW) if name in SLOW else 1)
        for number, tier in enumerate(tiers):
            yield _Scan(name, tier, seconds, partial(_apart, attack, held, tier, seconds, number))


def _apart(attack: Attack, held: Held, tier: str, seconds: float, seed: int) -> dict[str, Any]:
    """In a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn"), _be_an_attacker) as pool:
        return pool.submit(attack, held, tier, seconds, seed).result().document()


def _be_an_attacker() -> None:
    os.nice(NICE)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each byte for a connection that was closed


def _scanners(held: Held, minutes: float, out: Path) -> Iterator[_Scan]:
    for name, scanner in SCANNERS.items():
        seconds = scanner.share * 60 * minutes / len(scanner.tiers)
        skipped = "" if scanner.path else f"{scanner.program} is not installed: `{scanner.install}`"
        for tier in scanner.tiers:
            log = out / f"scan {name} {tier}.txt".replace(",", "").replace(" ", "-")
            yield _Scan(name, tier, seconds, partial(scanner.run, held, tier, seconds, log), skipped)


def main(
    out: Out = RESULTS,
    minutes: Annotated[float, Option(min=0.05, help="For each scan.")] = 10.0,
    rate: Annotated[float, Option(min=0.1, help="Events a second of the sensors.")] = 5.0,
    only: Annotated[str, Option(help="Words in the names of scans, with commas; all without.")] = "",
) -> None:
    """Scan, print, and write `scan.json` and `scan.md`, and what each scanner said."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    try:
        for row in _rows(out, minutes, rate, only):
            print(f"{row['scan']} {row['tier']}: {row['skipped'] or ', '.join(row['faults']) or 'held'}", flush=True)
            rows.append(row)
    finally:  # an hour is long: what was found counts, whatever ended it
        write(out, "scan", {"rate": rate, "minutes": minutes, "rows": rows}, **environment())
    raise typer.Exit(int(any(row["faults"] for row in rows)))


def _rows(out: Path, minutes: float, rate: float, only: str) -> Iterator[dict[str, Any]]:
    with _fleet() as (fleet, held), ThreadPoolExecutor(1) as thread:
        _ask(fleet, held, _ALONE_S, rate)  # all is warm
        every = (*_attacks(held, minutes), *_scanners(held, minutes, out))
        wanted = (scan for scan in every if not only or any(word.strip() in scan.name for word in only.split(",")))
        for scan in (_Scan("nothing", "", _ALONE_S, dict[str, Any]), *wanted):
            row = {"scan": scan.name, "tier": scan.tier, "seconds": scan.seconds, "skipped": scan.skipped, "faults": []}
            if scan.skipped:
                yield row
                continue
            watch, found = _Watch(fleet), thread.submit(scan.do)
            honest = _ask(fleet, held, scan.seconds, rate)
            yield {**row, **found.result(), **watch.ended(honest)}
            if fleet.stopped():
                break


if __name__ == "__main__":
    command(__doc__, main)
