"""A fleet of tiers as processes on loopback, started, ready and stopped together; POSIX only, for its signals."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Self

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.errors import BadConfig, DDNNError
from ddnn.fleet.addresses import HOST, addresses_of, edge_names, ports, refuse_ports_in_use
from ddnn.fleet.site import furnish
from ddnn.links import LinkShape
from ddnn.types import Tier

__all__ = ["LinkProcess", "LocalFleet", "Member"]

_SET_BY_THE_FLEET: Final = {
    f"DDNN_{name}"
    for name in ("BUNDLE", "INDEX", "UPSTREAM", "HOST", "PORT", "STATE_DIR", "TLS_CERTIFICATE", "TLS_KEY", "IDENTITY")
}
_PROXY: Final = "ddnn_lab.links"  #: of the laboratory, and a process of its own: nothing here imports it
_SECONDS_TO_STOP: Final = 12.0
_LINES_TO_SHOW: Final = 5


@dataclass
class Member:
    """One tier of the fleet, running or not."""

    name: str  #: `cloud`, `edge` (`edge-0`, `edge-1`, … when there are several), `device-0`, …
    tier: Tier
    index: int
    port: int
    upstream: str | None
    log: Path
    identity: Path | None = None  #: its folder, where tiers know each other by certificates
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.identity else 'http'}://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def send(self, how: signal.Signals) -> None:
        """Send its process a signal, if it lives."""
        if self.process is not None and self.running:
            self.process.send_signal(how)

    def end(self, how: signal.Signals) -> None:
        """Send its process a signal and wait until it is no more; kill it when that takes too long."""
        self.send(how)
        if self.process is None:
            return
        try:
            self.process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def how_it_ended(self) -> str:
        """Why its process is no more, as a sentence without its full stop."""
        if self.process is None or (code := self.process.poll()) is None:
            return f"{self.name} runs" if self.process else f"{self.name} was never started"
        if code < 0:
            return f"{self.name} was ended by {signal.Signals(-code).name}"
        return f"{self.name} stopped with exit code {code}: {self.last_words()}"

    def last_words(self) -> str:
        """The last lines of its log, on one line."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return " | ".join(line.strip() for line in lines[-_LINES_TO_SHOW:] if line.strip()) or "it said nothing"


class LinkProcess:
    """A link to `HOST:PORT` from construction to `close`; it also ends with the process that made it."""

    popen: ClassVar[type[subprocess.Popen[str]]] = subprocess.Popen  #: how its process is started

    def __init__(self, to: str, shape: LinkShape | None = None, *, seed: int = 0) -> None:
        self.shape = shape or LinkShape()  # what it did to whatever passed when it was made
        self._process = self.popen(
            [sys.executable, "-m", _PROXY, "--to", to, "--shape", str(self.shape), "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # a terminal's Ctrl-C is for the process above, which may have tiers to drain first
        )
        self.port = int(self._answer())  # where it listens

    @property
    def url(self) -> str:
        """Address for callers."""
        return f"http://{HOST}:{self.port}"

    def ask(self, command: str) -> str:
        """Give it one of the commands of `python -m ddnn_lab.links`; return its answer, raise what it refuses."""
        assert self._process.stdin is not None
        try:
            print(command, file=self._process.stdin)
        except (OSError, ValueError):  # its end of the pipe is closed, or ours
            raise self._ended() from None
        answer = self._answer()
        if answer.startswith("error: "):
            raise BadConfig(answer.removeprefix("error: "))
        return answer

    def close(self) -> None:
        """End it; open connections are reset."""
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line.strip()
        raise self._ended()

    def _ended(self) -> DDNNError:
        return DDNNError(f"the link has ended with exit code {self._process.wait(10)}")


class LocalFleet:
    """The tiers of one bundle as processes; a context manager that leaves none behind."""

    watchdog: ClassVar = "ddnn.fleet.watchdog"  #: the module that runs a tier and ends it with this process
    popen: ClassVar[type[subprocess.Popen[bytes]]] = subprocess.Popen  #: how a tier's process is started

    def __init__(
        self,
        bundle: Path,
        *,
        base_port: int = 8000,
        env: Mapping[str, str] | None = None,
        state: Path | None = None,
        shapes: Mapping[Tier, LinkShape] | None = None,
        niceness: int = 0,
        identity: Path | None = None,
    ) -> None:
        """`state` is the folder of what must outlive the fleet; `shapes` are of links, by the tier at the lower end.

        Tiers of some `niceness` leave the processor to whatever loads them from this machine. `identity` is the folder
        of a site, made if it has no authority: all is https, and whoever asks trusts `authority.pem` in it.
        """
        self.bundle = Bundle.open(bundle)
        self.bundle.verify()
        self._env, self._state, self._shapes, self._niceness = dict(env or {}), state, dict(shapes or {}), niceness
        self._stack, topology = ExitStack(), self.bundle.topology
        self._identity = identity
        if identity:
            furnish(identity, topology)
        self._ports = ports(base_port, len(topology.devices), len(topology.edges))
        self.members: dict[str, Member] = {}
        self.links: dict[str, LinkProcess] = {}  # by the member at the lower end

    def __enter__(self) -> Self:
        refuse_ports_in_use(self._ports)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ddnn-")))
        self.members = {member.name: member for member in self._plan()}
        try:
            self.links = dict(self._lay())
            self._stack.callback(self.stop)  # before the links go: a tier that drains needs its uplink
            for name in self.members:
                self.start(name)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def cloud_url(self) -> str:
        """Address of the cloud."""
        return self._urls(Tier.CLOUD)[0]

    @property
    def edge_urls(self) -> tuple[str, ...]:
        """Addresses of the edges, in order."""
        return self._urls(Tier.EDGE)

    @property
    def device_urls(self) -> tuple[str, ...]:
        """Addresses of the devices, in order."""
        return self._urls(Tier.DEVICE)

    def pid(self, name: str) -> int:
        """Process id of the tier `name`, which must have been started."""
        if process := self._member(name).process:
            return process.pid
        raise BadConfig(f"{name} was never started")

    def start(self, name: str) -> None:
        """Start the tier `name`, on the port it has always had."""
        member = self._member(name)
        if member.running:
            return
        log = self._stack.enter_context(member.log.open("ab"))
        # The watchdog ends the tier when this process is gone, even if it was killed; the session of its own keeps the
        # terminal's Ctrl-C away: this process stops the tiers in order.
        member.process = self.popen(
            [sys.executable, "-m", self.watchdog, *self._arguments(member)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._environment(member),
            start_new_session=True,
        )
        if self._niceness:
            os.setpriority(os.PRIO_PROCESS, member.process.pid, self._niceness)
            # Linux shares processors by session first, where it groups them so: what is nice within one is not beyond.
            with suppress(OSError):
                Path(f"/proc/{member.process.pid}/autogroup").write_text(str(self._niceness))

    def command(self, name: str) -> str:
        """What starts the tier `name` again by hand, where and as it was; tokens are in a file that the user can read.

        The file goes with the fleet.
        """
        member = self._member(name)
        settings = {**self._own(member), **self._env}
        secrets = {key: value for key, value in settings.items() if key.endswith(("_TOKEN", "_KEY"))}
        own = [f"{key}={shlex.quote(value)}" for key, value in settings.items() if key not in secrets]
        run = " ".join([*own, shlex.quote(sys.executable), "-m", "ddnn", shlex.join(self._arguments(member))])
        if not secrets:
            return run
        file = self.folder / "tokens"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.writelines(f"export {key}={shlex.quote(value)}\n" for key, value in secrets.items())
        return f"( . {shlex.quote(str(file))}; {run} )"

    def kill(self, name: str) -> None:
        """End the tier `name` at once, as a power cut would."""
        self._member(name).end(signal.SIGKILL)

    def terminate(self, name: str) -> None:
        """Ask the tier `name` to drain and end, and wait for it."""
        self._member(name).end(signal.SIGTERM)

    def stop(self, *, seconds: float = _SECONDS_TO_STOP) -> None:
        """Stop from below, so that a tier that drains has one above: ask, wait `seconds` for each kind, then kill."""
        try:
            for tier in (Tier.DEVICE, Tier.EDGE, Tier.CLOUD):
                members = self._of(tier)
                for member in members:
                    member.send(signal.SIGTERM)
                until = time.monotonic() + seconds
                while any(member.running for member in members) and time.monotonic() < until:
                    time.sleep(0.02)
                for member in members:
                    member.end(signal.SIGKILL)
        finally:  # also when a second Ctrl-C ends the wait
            for member in self.members.values():
                member.end(signal.SIGKILL)

    def is_ready(self, name: str) -> bool:
        """Whether the tier `name` says it is ready; raise `DDNNError` when its process has ended."""
        member = self._member(name)
        if not member.running:
            raise DDNNError(f"the fleet did not come up: {member.how_it_ended()}")
        with Client(member.url, timeout_s=2.0) as client:
            return client.ready()

    def wait_until_ready(self, *, seconds: float = 60.0, progress: Callable[[int, int], object] | None = None) -> None:
        """Return when every tier says it is ready; `progress(ready, all)` is called at every step."""
        until = time.monotonic() + seconds
        waiting = list(self.members)
        while waiting:
            waiting = [name for name in waiting if not self.is_ready(name)]
            if progress:
                progress(len(self.members) - len(waiting), len(self.members))
            if waiting and time.monotonic() > until:
                words = self.members[waiting[0]].last_words()
                raise DDNNError(f"not ready after {seconds:.0f} s: {', '.join(waiting)}; {words}")
            time.sleep(0.05 if waiting else 0)

    def stopped(self) -> list[Member]:
        """Tiers whose process was started and has ended."""
        return [member for member in self.members.values() if member.process is not None and not member.running]

    def below(self, member: Member) -> list[str]:
        """Names of the tiers whose uplink leads to `member`."""
        return [other.name for other in self.members.values() if other.upstream == member.url]

    def _of(self, tier: Tier) -> list[Member]:
        return [member for member in self.members.values() if member.tier is tier]

    def _urls(self, tier: Tier) -> tuple[str, ...]:
        return tuple(member.url for member in self._of(tier))

    def _plan(self) -> Iterator[Member]:
        edges = edge_names(len(self.bundle.topology.edges))
        urls = addresses_of(self._ports, "https" if self._identity else "http")
        for name, port in self._ports.items():
            tier, index = Tier(name.partition("-")[0]), int(name.partition("-")[2] or 0)
            below_edge = tier is Tier.DEVICE and edges[self.bundle.topology.edge_of(index)]
            above = None if tier is Tier.CLOUD else urls[below_edge or "cloud"]
            own = self._identity / f"{tier}-{index}" if self._identity else None
            yield Member(name, tier, index, port, above, self.folder / f"{name}.log", own)

    def _lay(self) -> Iterator[tuple[str, LinkProcess]]:
        for seed, member in enumerate(self.members.values()):
            shape = self._shapes.get(member.tier)
            if shape and member.upstream:
                yield (
                    member.name,
                    self._stack.enter_context(LinkProcess(member.upstream.partition("//")[2], shape, seed=seed)),
                )

    def _arguments(self, member: Member) -> list[str]:
        where = ["--bundle", str(self.bundle.path), "--index", str(member.index)]
        above = member.upstream
        if above and member.name in self.links:
            above = f"{above.partition(':')[0]}://{HOST}:{self.links[member.name].port}"
        upstream = ["--upstream", above] if above else []
        return ["serve", member.tier.value, *where, *upstream, "--host", HOST, "--port", str(member.port)]

    def _environment(self, member: Member) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _SET_BY_THE_FLEET}
        return {**self._own(member), **inherited, **self._env}

    def _own(self, member: Member) -> dict[str, str]:
        state = self._state or self.folder / "state"
        # One thread each: the tiers share this machine's cores with each other.
        own = {"DDNN_THREADS": "1", "DDNN_STATE_DIR": str(state), "PYTHONUNBUFFERED": "1"}
        if member.identity:
            own["DDNN_IDENTITY"] = str(member.identity)
        return own

    def _member(self, name: str) -> Member:
        if name not in self.members:
            raise BadConfig(f"no tier {name!r} in this fleet; it has {', '.join(self.members)}")
        return self.members[name]
