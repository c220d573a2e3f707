"""Two workers that a test starts, and the server, which is the test's own process: all go through the same."""

import os
import sys

from torch._C._distributed_c10d import PrefixStore

from ddnn.training import Config, Trainer
from ddnn.training.distributed import Group, exchange_of, joined
from joined_workers import STEADY, config, events, learnt

__all__ = ["CONFIGS", "LAST", "ONE", "command", "go_through", "last"]

DOWNPOUR = {"mode": "downpour", "every": 1, "fetch_every": 1}
CONFIGS: dict[str, Config] = {
    "soft": config({"mode": "softsync", "every": 1, "timeout_s": 60.0}),
    "hasty": config({"mode": "softsync", "every": 1, "soft": 1}),
    "bounded": config({**DOWNPOUR, "every": 2, "fetch_every": 3, "most_stale": 1, "compress": 0.0009765625}),
    "agreeing": config({"mode": "admm", "every": 3, "rho": 0.1}, **STEADY),
}
"""What both go through, one after the other."""
ONE = config({**DOWNPOUR, "count": 1})
LAST = config({"mode": "downpour", "every": 4}, epochs=3)


def go_through(group: Group) -> dict[str, Trainer]:
    """Make all trainings as one of the group; the trainer of each, by name."""
    made = {name: learnt(wanted, exchange_of(group, wanted.workers)) for name, wanted in CONFIGS.items()}
    if group.rank < 2:
        pair = Group(PrefixStore("pair", group.store), group.rank, 2, 60.0)
        made["one"] = learnt(ONE, exchange_of(pair, ONE.workers))
    return made


def last(group: Group) -> Trainer:
    """A training in whose second epoch the second worker dies."""
    exchange = exchange_of(group, LAST.workers)
    if group.rank != 2:
        return learnt(LAST, exchange)
    trainer = Trainer(LAST, events(), seed=5, exchange=exchange)
    trainer.epoch()
    for batch, _ in zip(trainer.batches, range(2), strict=False):
        trainer.step(batch)
    os._exit(9)


def command() -> list[str]:
    """What starts the workers."""
    return [sys.executable, __file__]


if __name__ == "__main__":
    with joined(None, []) as (group, _):
        go_through(group)
        last(group)
