"""How processes come to learn together: started by the command, by torchrun, or by hand on several machines."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from torch._C._distributed_c10d import PrefixStore, TCPStore

from ddnn.errors import BadConfig, BadInput, WorkerLost
from ddnn.training.config import Config, WorkersConfig
from ddnn.training.distributed.collective import Averaging, Together
from ddnn.training.distributed.group import Group
from ddnn.training.distributed.replica import Replica, refuse_replicas
from ddnn.training.distributed.served import Pulled, Pusher, Soft
from ddnn.training.distributed.server import Server
from ddnn.training.exchange import Exchange

__all__ = ["Company", "exchange_of", "joined", "placed", "processes", "same_command", "started"]

SERVED: Final = ("softsync", "downpour", "admm")
"""Modes whose weights are at a server, a process more."""
_ENV: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_STARTED: Final = "STARTED_BY_DDNN"
END_S: Final = 10.0


def exchange_of(group: Group, config: WorkersConfig, folder: Path | None = None) -> Exchange:
    """What a process of the group exchanges, in the mode of `config`; a worker keeps its own state in `folder`."""
    if config.mode in SERVED and group.rank == 0:
        return Server(group, config, folder)
    return _MODES[config.mode](group, config, folder)


def placed() -> int | None:
    """The rank that torchrun, or whoever started this process, gave it; None for one that starts others itself."""
    given = [name for name in _ENV if name in os.environ]
    if not given:
        return None
    if len(given) < len(_ENV):
        missing = ", ".join(name for name in _ENV if name not in given)
        raise BadInput(
            f"{', '.join(given)} set, but not {missing}; expected all of them, as torchrun sets them, or none"
        )
    return int(os.environ["RANK"])


_MODES: Final[dict[str, Callable[[Group, WorkersConfig, Path | None], Exchange]]] = {
    "sync": Together,
    "average": Averaging,
    "softsync": Soft,
    "downpour": Pusher,
    "admm": Pulled,
    "codistill": Replica,
}


def started() -> bool:
    """Whether another process of the same training has started this one."""
    return _STARTED in os.environ


def processes(config: WorkersConfig) -> int:
    """How many there are: the workers, and a server where the mode has one."""
    return config.count + (config.mode in SERVED)


class Company:
    """Processes that this one has started to learn with it, and ends; each runs the same command.

    Args:
        command: The command's words, from the program's name on.
        count: How many there are, this one included.
    """

    def __init__(self, command: Sequence[str], count: int) -> None:
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.store.port), "WORLD_SIZE": str(count)}
        where |= {"GLOO_SOCKET_IFNAME": "lo", _STARTED: "1"}
        self._before = os.environ.get("GLOO_SOCKET_IFNAME")
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # of this one too: what is started here is met here alone
        where["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(max((os.cpu_count() or 1) // count, 1))
        self._processes = [
            subprocess.Popen(
                list(command),
                env={**os.environ, **where, "RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this one, which ends them
            )
            for rank in range(1, count)
        ]

    def ended(self) -> str | None:
        """Which of them has ended, in a sentence."""
        for rank, process in enumerate(self._processes, 1):
            if (code := process.poll()) is not None:
                return f"worker {rank} ended with exit code {code} before all had met"
        return None

    def stop(self, wait_s: float) -> None:
        """End those that do not end by themselves in time."""
        os.environ.pop("GLOO_SOCKET_IFNAME", None)
        if self._before is not None:
            os.environ["GLOO_SOCKET_IFNAME"] = self._before
        until = time.monotonic() + wait_s
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(until - time.monotonic(), 0))
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)


@contextmanager
def joined(config: Config | None, command: Sequence[str]) -> Iterator[tuple[Group, Config]]:
    """The group of all workers, and the config that the first of them has; started where they are not there.

    Args:
        config: Of the first one; the others are told, and give None.
        command: What starts a worker: the same command.
    """
    rank, company = placed(), None
    if config:
        _refuse(config)
    try:
        if rank is None:
            assert config is not None
            count = processes(config.workers)
            company, rank = Company(command, count), 0
            store, timeout = company.store, config.workers.timeout_s
        else:
            count = int(os.environ["WORLD_SIZE"])
            if config and count != processes(config.workers):
                served = ", one of them the server" if config.workers.mode in SERVED else ""
                wanted = f"expected {processes(config.workers)}{served}"
                raise BadInput(f"WORLD_SIZE is {count} with {config.workers.count} workers; {wanted}")
            timeout = config.workers.timeout_s if config else WorkersConfig().timeout_s
            host = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
            wait = timedelta(seconds=timeout)
            where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = TCPStore(*where, None, host, wait, wait_for_workers=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store_here = PrefixStore(f"ddnn/{attempt}", store)
        store_here.set(f"here/{rank}", "1")
        _wait_for_all(store_here, count, timeout, company)
        if config:
            store_here.set("timeout", str(timeout))
        timeout = float(store_here.get("timeout"))  # before the config itself can be told
        group = Group(store_here, rank, count, timeout)
        told = group.tell(config.model_dump_json().encode() if config else None)
        yield group, config or Config.model_validate_json(told)
        group.leave()
        if company:
            company.stop(END_S)
    finally:
        if company:
            company.stop(0)


def _wait_for_all(store: PrefixStore, count: int, timeout_s: float, company: Company | None) -> None:
    until = time.monotonic() + timeout_s
    while missing := [rank for rank in range(count) if not store.check([f"here/{rank}"])]:
        if company and (sentence := company.ended()):
            raise WorkerLost(sentence)
        if time.monotonic() > until:
            raise WorkerLost(f"worker {missing[0]} of {count} did not come within {timeout_s:g} s")
        time.sleep(0.02)


def _refuse(config: Config) -> None:
    """Raise `BadConfig` for parts of a batch below the two events that a batch norm needs, and keys of other modes."""
    batch, workers = config.training.batch, config.workers
    if workers.mode == "codistill":
        refuse_replicas(config)
    elif batch // workers.count < 2:
        least = f"expected at least {2 * workers.count}, two each"
        raise BadConfig(f"training.batch is {batch} for {workers.count} workers; {least}")
    for key, others in (("compress", ("softsync", "downpour")), ("most_stale", ("softsync", "downpour"))):
        if getattr(workers, key) and workers.mode not in others:
            raise BadConfig(f"workers.{key} is set, which {workers.mode} has not; expected one of {', '.join(others)}")


def same_command() -> list[str]:
    """How this process was called, for the workers that it starts."""
    return [sys.executable, "-m", "ddnn", *sys.argv[1:]]
