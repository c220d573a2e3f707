"""A fleet of processes over links, and everything that can be done to it."""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit
from time import monotonic, sleep
from typing import Any, Final, Self

import numpy as np
import psutil

from ddnn.bundle import Bundle
from ddnn.client.admin import Admin
from ddnn.errors import DDNNError
from ddnn.fleet.processes import LinkProcess, LocalFleet, Member
from ddnn.links import LinkShape
from ddnn.policy import Thresholds
from ddnn.task import entropy, probabilities
from ddnn.types import Exit, Tier

__all__ = ["ADMIN", "DEVICE", "FaultyFleet", "Footprint", "footprints", "leaks", "resealed", "spread"]

ADMIN: Final = "may-write-the-policy"  #: admin token of its tiers
DEVICE: Final = 1  #: the device that troubles befall
_PATIENCE_S: Final = 60.0
_CLOCKS: Final = Path(__file__).parent / "wrong_clock"


class FaultyFleet(LocalFleet):
    """Links on every way up and before one device; tiers that may run another bundle, under another clock."""

    def __init__(self, bundle: Path, *, other: Path | None = None, identity: Path | None = None) -> None:
        """`other` is a bundle for tiers restarted with another one; `identity`: a site, over whose certificates."""
        shapes = {Tier.DEVICE: LinkShape(), Tier.EDGE: LinkShape()}
        # Nothing is shed for want of CPU: it would be the machine's other work that is judged, not the trouble.
        env = {"DDNN_ADMIN_TOKEN": ADMIN, "DDNN_MAX_LAG_MS": "0"}
        super().__init__(bundle, base_port=0, shapes=shapes, env=env, identity=identity)
        self._other, self._estranged = other, set[str]()

    def __enter__(self) -> Self:
        super().__enter__()
        to = self.members[f"device-{DEVICE}"].url.partition("//")[2]
        self.front = self._stack.enter_context(LinkProcess(to))
        """What callers of the troubled device go through."""
        return self

    def __exit__(self, *error: object) -> None:
        for member in self.members.values():
            if member.running:
                self.resume(member.name)
        super().__exit__(*error)

    @property
    def device_urls(self) -> tuple[str, ...]:
        """Where callers go, in order."""
        own = super().device_urls
        front = own[DEVICE].rpartition(":")[0] + f":{self.front.port}"
        return tuple(front if n == DEVICE else url for n, url in enumerate(own))

    def towards(self, name: str) -> list[LinkProcess]:
        """The links by which the tier `name` is reached."""
        if name == f"device-{DEVICE}":
            return [self.front]
        return [self.links[below] for below in self.below(self.members[name])]

    def above(self, name: str) -> list[LinkProcess]:
        """The links on the way to the tier `name`, or of a device its way up."""
        return self.towards(name) if name in ("cloud", "edge") else [self.links[name]]

    def pause(self, name: str) -> None:
        """Let it stand still, as a machine that swaps, or a switch that blocks, does."""
        self.members[name].send(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        self.members[name].send(signal.SIGCONT)

    def restart(self, name: str, *, estranged: bool = False) -> None:
        """Drain it, and start it with its own bundle or with the other one."""
        self.terminate(name)
        (self._estranged.add if estranged else self._estranged.discard)(name)
        self.start(name)
        self.wait_for(name)

    def wait_for(self, name: str) -> None:
        """Return when the tier `name` is ready."""
        until = monotonic() + _PATIENCE_S
        while not self.is_ready(name):
            assert monotonic() < until, f"{name} is not ready: {self.members[name].last_words()}"
            sleep(0.05)

    def set_clock(self, name: str, seconds: int) -> None:
        """Set its wall clock forward by so much, at once."""
        self._clock(name).write_text(str(seconds))

    def fill_disk(self, name: str, *, full: bool) -> None:
        """Let nothing it writes to a file succeed any more, logs included."""
        most = 0 if full else RLIM_INFINITY
        prlimit(self.pid(name), RLIMIT_FSIZE, (most, RLIM_INFINITY))

    def swap_policy(self) -> int:
        """Put a policy in force that decides as before; its version."""
        with self._admin("cloud") as cloud:
            return int(cloud.write_policy(self.bundle.policy, over=cloud.read_policy())["version"])

    def status(self, name: str) -> dict[str, Any] | None:
        """`GET /v2/status`; None where there is no answer."""
        with suppress(DDNNError), self._admin(name, timeout_s=0.5) as tier:
            return tier.status()
        return None

    def statuses(self) -> Iterator[dict[str, Any] | None]:
        """The same of every tier."""
        return map(self.status, self.members)

    def busy(self) -> Iterator[str]:
        """What is still being worked on, tier by tier."""
        for name in self.members:
            with self._admin(name) as tier:
                text = tier.metrics()
            for line in text.splitlines():
                metric, _, value = line.partition(" ")
                if metric in ("ddnn_in_flight", "ddnn_queue_depth") and float(value):
                    yield f"{name} has {metric} {value}"

    def until_idle(self) -> None:
        """Return when no tier works on anything; fails if that does not come."""
        until = monotonic() + _PATIENCE_S
        while left := list(self.busy()):
            assert monotonic() < until, f"something stays: {'; '.join(left)}"
            sleep(0.05)

    def _admin(self, name: str, timeout_s: float = 5.0) -> Admin:
        return Admin(self.members[name].url, admin_token=ADMIN, timeout_s=timeout_s)

    def _clock(self, name: str) -> Path:
        return self.folder / f"{name}.clock"

    def _arguments(self, member: Member) -> list[str]:
        arguments = super()._arguments(member)
        if member.name in self._estranged:
            assert self._other is not None
            arguments[arguments.index("--bundle") + 1] = str(self._other)
        return arguments

    def _environment(self, member: Member) -> dict[str, str]:
        environment = super()._environment(member)
        path = os.pathsep.join([str(_CLOCKS), *filter(None, [environment.get("PYTHONPATH")])])
        return {**environment, "PYTHONPATH": path, "WRONG_CLOCK": str(self._clock(member.name))}


def spread(bundle: Bundle, path: Path, *, local: float = 0.3, edge: float = 0.5, **changes: Any) -> Bundle:
    """A copy of `bundle` at `path` by whose policy these shares of the golden events are sure at the two exits."""
    shutil.copytree(bundle.path, path)
    golden = bundle.golden

    def quantile(exit: Exit, share: float) -> float:
        """So many of the golden events are surer than this; halfway between two, so that no rounding decides."""
        eta = np.sort(entropy(probabilities(golden[f"{exit}_scores"][:, 0], bundle.policy.temperatures.of(exit))))
        at = int(share * len(eta))
        return float((eta[at - 1] + eta[at]) / 2)

    thresholds = Thresholds(local=quantile(Exit.LOCAL, local), edge=quantile(Exit.EDGE, edge))
    kept = bundle.policy.model_copy(update={"thresholds": thresholds, "promise": None, "tuned": None, **changes})
    kept.write(path)
    return Bundle.open(path)


def resealed(bundle: Bundle, path: Path) -> Path:
    """The same network under another name, so under another fingerprint."""
    shutil.copytree(bundle.path, path)
    manifest = Bundle.seal(path, bundle.manifest.model_copy(update={"name": "other"}))
    bundle.policy.model_copy(update={"bundle": manifest.fingerprint}).write(path)
    assert manifest.fingerprint != bundle.fingerprint
    return path


_SPARE_FILES: Final = 10
"""Connections that each tier below may keep open: it asks for the policy on each of them in turn."""
_CLOSING_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one process, at one moment."""

    pid: int
    memory: int  #: resident, in bytes
    files: int  #: open files, connections among them
    threads: int


def footprints(fleet: LocalFleet) -> dict[str, Footprint]:
    """Of every tier that runs."""
    return {name: _of(fleet.pid(name)) for name, member in fleet.members.items() if member.running}


def leaks(fleet: LocalFleet, before: dict[str, Footprint]) -> list[str]:
    """What tiers hold more than `before` and do not let go of; idle connections have seconds to close."""
    until = monotonic() + _CLOSING_S
    while (found := list(_more(fleet, footprints(fleet), before))) and monotonic() < until:
        sleep(0.2)
    return found


def _more(fleet: LocalFleet, now: dict[str, Footprint], before: dict[str, Footprint]) -> Iterable[str]:
    for name, was in before.items():
        files, threads = now[name].files - was.files, now[name].threads - was.threads
        if files > _SPARE_FILES * (2 + len(fleet.below(fleet.members[name]))):
            yield f"{name} has {files} more open files"
        if threads > 2:
            yield f"{name} has {threads} more threads"


def _of(pid: int) -> Footprint:
    process = psutil.Process(pid)
    with process.oneshot():
        return Footprint(pid, process.memory_info().rss, process.num_fds(), process.num_threads())
