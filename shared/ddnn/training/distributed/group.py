"""Processes that learn together, joined by gloo: sums over all, words from the first, messages between two."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import torch
from torch import Tensor
from torch._C._distributed_c10d import (
    AllgatherOptions,
    AllreduceOptions,
    BroadcastOptions,
    PrefixStore,
    ProcessGroupGloo,
    ReduceOp,
    Store,
)

from ddnn.errors import WorkerLost
from ddnn.training.distributed.traffic import Traffic

__all__ = ["Group"]

NOTED_S: Final = 3.0  #: within which those that live have noted that they do, once one is lost


class Group:
    """This process among those that learn together.

    Args:
        store: Where all find each other.
        rank: Which this one is, from 0.
        size: How many there are.
        timeout_s: Longest wait for another one.

    Raises:
        WorkerLost: Of every method: another one has ended, or was silent for longer than that; by number, as far as
            the others know.
    """

    def __init__(self, store: Store, rank: int, size: int, timeout_s: float) -> None:
        self.rank, self.size, self.traffic = rank, size, Traffic()
        self.store, self._timeout = store, timedelta(seconds=timeout_s)
        store.set_timeout(self._timeout)
        self._gloo: Any = None
        with self._named():
            self._gloo = ProcessGroupGloo(PrefixStore("gloo", store), rank, size, self._timeout)

    def sum(self, vector: Tensor) -> None:
        """Make a vector (m,) the sum of those of all, in place."""
        self._reduce(vector)
        size = vector.numel() * vector.element_size()
        self.traffic.exchange(sent=size, received=size)

    def figures(self, *mine: float) -> list[float]:
        """The sums of a few numbers over all."""
        vector = torch.tensor(mine, dtype=torch.float64)
        self._reduce(vector)
        self.traffic.control += 8 * len(mine)
        return [float(each) for each in vector]

    def gather(self, vector: Tensor) -> list[Tensor]:
        """The vectors (m,) of all, each as long, by rank."""
        found = self._gather(vector)
        size = vector.numel() * vector.element_size()
        self.traffic.exchange(sent=size, received=(self.size - 1) * size, messages=self.size)
        return found

    def heard(self, mine: bytes) -> list[bytes]:
        """What each says, by rank; all say as much."""
        self.traffic.control += self.size * len(mine)
        said = self._gather(torch.frombuffer(bytearray(mine), dtype=torch.uint8))
        return [each.numpy().tobytes() for each in said]

    def tell(self, words: bytes | None = None, *, first: int = 0) -> bytes:
        """What the `first` one says, everywhere."""
        length = torch.tensor([len(words) if words is not None else 0])
        self._broadcast(length, first)
        text = torch.zeros(int(length), dtype=torch.uint8)
        if words:
            text = torch.frombuffer(bytearray(words), dtype=torch.uint8)
        if len(text):
            self._broadcast(text, first)
        self.traffic.control += 8 + len(text)
        return text.numpy().tobytes()

    def send(self, to: int, tensor: Tensor) -> None:
        """A message to one of the others; raise `RuntimeError` when it is gone."""
        self._transport.send([tensor], to, 0).wait()

    def receive(self, of: int, tensor: Tensor) -> Tensor:
        """A message of one of the others into `tensor`; raise `RuntimeError` when it is gone, or silent too long."""
        self._transport.recv([tensor], of, 0).wait()
        return tensor

    def close(self) -> None:
        """Leave the others: they find out."""
        self._gloo = None

    @property
    def _transport(self) -> Any:
        if self._gloo is None:
            raise RuntimeError("this process has left the others")
        return self._gloo

    def _reduce(self, vector: Tensor) -> None:
        options = AllreduceOptions()
        options.reduceOp = ReduceOp(ReduceOp.SUM)
        with self._named():
            self._transport.allreduce([vector], options).wait()

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        found = [torch.zeros_like(tensor) for _ in range(self.size)]
        with self._named():
            self._transport.allgather([found], [tensor], AllgatherOptions()).wait()
        return found

    def _broadcast(self, tensor: Tensor, first: int) -> None:
        options = BroadcastOptions()
        options.rootRank = first
        with self._named():
            self._transport.broadcast([tensor], options).wait()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn what the transport says when another one is gone into a sentence that names it."""
        try:
            yield
        except RuntimeError as error:
            raise WorkerLost(self.lost(str(error))) from error

    def lost(self, why: str) -> str:
        """Leave, and find out who else does not: a sentence for the person who meets it."""
        self.close()  # those that wait for this one find out, and note that they live
        others = [rank for rank in range(self.size) if rank != self.rank]
        try:
            self.store.set(f"alive/{self.rank}", "1")
            silent = self._missing("alive", others)
        except RuntimeError:
            silent = [0] if self.rank else []
        if not silent:
            said, _, _ = why.splitlines()[0].partition(" This is")
            return f"the exchange between {self.size} workers failed: {said}"
        names = " and ".join(str(rank) for rank in silent)
        plural = "s" if len(silent) > 1 else ""
        return f"worker{plural} {names} of {self.size} ended or fell silent, and the others cannot go on"

    def leave(self) -> None:
        """End in peace: wait until all others are about to, so that none finds the first one gone."""
        if self._gloo is None:
            return
        with suppress(RuntimeError):
            self.store.set(f"alive/{self.rank}", "1")
            self.store.set(f"over/{self.rank}", "1")
            if self.rank == 0:
                self._missing("over", range(self.size))
        self.close()

    def _missing(self, what: str, ranks: Iterable[int]) -> list[int]:
        """Those that have not noted something in time."""
        until = time.monotonic() + min(NOTED_S, self._timeout.total_seconds())
        while missing := [rank for rank in ranks if not self.store.check([f"{what}/{rank}"])]:
            if time.monotonic() > until:
                return missing
            time.sleep(0.05)
        return []
