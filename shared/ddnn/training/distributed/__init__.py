"""Several processes that learn one network together; the arithmetic of each way apart from what carries it."""

from ddnn.training.distributed.company import exchange_of, joined, placed, processes, same_command, started
from ddnn.training.distributed.group import Group
from ddnn.training.distributed.replica import seed_of

__all__ = ["Group", "exchange_of", "joined", "placed", "processes", "same_command", "seed_of", "started"]
