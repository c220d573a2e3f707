"""Who computes where: the cloud on one half of the machine, all below it and the load generator where there is room."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

__all__ = ["Cores", "on"]


@dataclass(frozen=True)
class Cores:
    """The same division for every system."""

    cloud: frozenset[int]
    all: frozenset[int]

    @classmethod
    def of(cls, available: frozenset[int]) -> Self:
        """The first half for the cloud, one core at least."""
        order = sorted(available)
        return cls(frozenset(order[: max(1, len(order) // 2)]), available)

    @classmethod
    def mine(cls) -> Self:
        """Of the cores that this process may use."""
        return cls.of(frozenset(os.sched_getaffinity(0)))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Processes started within run on these cores, and so do their children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
