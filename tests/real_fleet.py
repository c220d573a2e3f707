"""A whole fleet of processes, watched by all its sensors."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Unpack

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer, Fleet, Options
from ddnn.fleet.policy import FleetPolicy
from ddnn.fleet.processes import LocalFleet
from warm_start import POPEN

__all__ = ["ADMIN", "PATIENCE_S", "Sensors", "follow", "serve_tier"]

ADMIN: Final = "may-write-the-policy"
"""Admin token of its tiers."""
PATIENCE_S: Final = 60.0


class Sensors:
    """All devices of a fleet see golden events together, under new ids each time."""

    def __init__(self, bundle: Bundle, fleet: LocalFleet, name: str = "", token: str | None = None) -> None:
        """Sensors of another `name` see other events."""
        self.bundle, self.client, self._name, self._round = bundle, Fleet(fleet.device_urls, token), name, 0

    def see(
        self, rows: slice, *, devices: tuple[int, ...] = (0, 1, 2, 3, 4, 5), **options: Unpack[Options]
    ) -> list[EventAnswer]:
        """What the fleet says of the golden events `rows`, seen by `devices`; every device answers, or this fails."""
        self._round += 1
        views = [self.bundle.golden[f"view_{n}"][rows] if n in devices else None for n in range(6)]
        count = len(self.bundle.golden["y"][rows])
        events = [f"{self._name}round {self._round} event {n}" for n in range(count)]
        options.setdefault("deadline_ms", 20_000)
        answers = self.client.answer_events(views, events=events, **options)
        for answer in answers:
            assert not answer.errors
            assert [given is not None for given in answer.answers] == [n in devices for n in range(6)]
        return answers

    def until_whole(self) -> None:
        """Ask until nothing is degraded and all six take part: circuits close by themselves, children come alive."""
        until = monotonic() + PATIENCE_S
        rows = slice(0, 8)
        while apart := [
            (given.exit.value, given.degraded_reason, given.devices.tolist())
            for given in self.see(rows, wait_ms=5000)
            if given.degraded or not given.devices.all()
        ]:
            assert monotonic() < until, f"the fleet did not become whole again: {apart}"


def follow(fleet: LocalFleet, etag: str) -> None:
    """Wait until every tier has this policy."""
    urls = {name: member.url for name, member in fleet.members.items()}
    assert all(FleetPolicy(urls).wait(etag, PATIENCE_S).values())


@contextmanager
def serve_tier(log: Path, *args: str, **env: str) -> Iterator[int]:
    """One tier as a process, started by `ddnn serve` with these arguments; its port."""
    with log.open("wb") as out:
        process = POPEN(
            [sys.executable, "-m", "ddnn", "serve", *args, "--port", "0"],
            env={**os.environ, "DDNN_THREADS": "1", **env},
            stderr=out,
        )
        try:
            until = monotonic() + PATIENCE_S
            while not (found := re.search(r"listens on .* port (\d+)", log.read_text())) or not _listens(int(found[1])):
                assert process.poll() is None, log.read_text()
                assert monotonic() < until, log.read_text()
                sleep(0.05)
            yield int(found[1])
        finally:
            process.terminate()
            assert process.wait(30) == 0


def _listens(port: int) -> bool:
    """Whether connections are taken there: a port is told before they are."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
