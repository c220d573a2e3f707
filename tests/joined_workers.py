"""Workers that a test starts: each goes through the same trainings as the test's own process, which is the first."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddnn.data import Dataset
from ddnn.export import sample_data
from ddnn.training import Config, Exchange, Run, Trainer
from ddnn.training.distributed import Group, exchange_of, joined, seed_of

__all__ = [
    "BATCH",
    "CONFIGS",
    "REPLICAS",
    "STEADY",
    "STEPS",
    "alone",
    "command",
    "config",
    "events",
    "furthest",
    "go_through",
    "learnt",
]

BATCH, STEPS = 16, 10
PLAIN = {"average": 0.0, "device_dropout": 0.0, "noise": 0.0, "norms": "keep", "optimizer": "sgd", "weight_decay": 0.0}
"""Nothing of chance, and nothing that an event's neighbours in a batch change."""
STEADY = {"schedule": "constant", "warmup": 0.0}  # an epoch is the same in a shorter training
NETWORK = {
    "device": {"widths": [4], "cut_width": 8},
    "edge": {"widths": [4], "cut_width": 8},
    "cloud": {"widths": [4]},
}


def config(workers: dict[str, Any], **training: Any) -> Config:
    """Two epochs of ten steps of plain SGD, unless `training` says otherwise."""
    wished = PLAIN | {"epochs": 2, "batch": BATCH, "learning_rate": 0.05} | training
    return Config.of({"network": NETWORK, "training": wished, "workers": {"count": 2} | workers})


CONFIGS: dict[str, Config] = {
    "sync": config({"timeout_s": 60.0}),
    "average": config({"mode": "average", "every": 1}),
    "seldom": config({"mode": "average", "every": 4, "average_optimizer": True}, optimizer="adamw", norms="learn"),
    "whole": config({"mode": "average", "every": 3}, **STEADY, optimizer="adamw", norms="learn"),
}
"""What all go through, one after the other."""
CHANCE = {"optimizer": "adamw", "norms": "learn", "noise": 0.05, "device_dropout": 0.3, "average": 0.9}
LISTENING = {"mode": "codistill", "every": 2, "burn_in": 1}
REPLICAS: dict[str, Config] = {
    "burning in": config(LISTENING | {"burn_in": 2}, **CHANCE, **STEADY),
    "of no weight": config(LISTENING | {"burn_in": 0, "others_weight": 0.0}, **CHANCE, **STEADY),
    "same events": config(LISTENING | {"burn_in": 2, "events": "same"}, **CHANCE, **STEADY),
    "taught": config(LISTENING, **CHANCE, **STEADY),
}
"""What replicas go through."""


def events() -> Dataset:
    """Ten batches of training events seen by two devices, and some to validate on."""
    data = sample_data([(5,)] * 2, events=BATCH * STEPS + 40)
    split = np.where(np.arange(len(data)) < BATCH * STEPS, "train", "validation")
    return replace(data, split=split.astype(data.split.dtype))


def learnt(
    config: Config, exchange: Exchange | None, run: Run | None = None, *, resume: bool = False, seed: int = 5
) -> Trainer:
    """A trainer that has made all epochs, with the exchange if there is one."""
    trainer = Trainer(config, events(), seed=seed, exchange=exchange, run=run, resume=resume)
    while not trainer.over:
        trainer.epoch()
    return trainer


def alone(config: Config) -> dict[str, torch.Tensor]:
    """The weights that one process with the batches of all comes to."""
    return learnt(config, None).state()


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Between two networks: how far their furthest weights are apart."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def go_through(group: Group, folder: Path) -> dict[str, Trainer]:
    """Make all trainings as one of the group; the trainer of each, by name."""
    made = {name: learnt(wanted, exchange_of(group, wanted.workers)) for name, wanted in CONFIGS.items()}
    run, wanted = Run(folder) if group.rank == 0 else None, CONFIGS["whole"]
    half = exchange_of(group, wanted.workers, folder)
    learnt(wanted.changed(epochs=1), half, run)  # one epoch, then the second as if all had been started anew
    made["resumed"] = learnt(wanted, exchange_of(group, wanted.workers, folder), run, resume=True)
    return made


def be_replicas(group: Group, folder: Path) -> dict[str, Trainer]:
    """Make all trainings of replicas as one of the group; the trainer of each, by name."""
    seed, run = seed_of(REPLICAS["taught"].workers, group.rank, 5), Run(folder) if group.rank == 0 else None

    def made(wanted: Config, run: Run | None = None, *, resume: bool = False) -> Trainer:
        return learnt(wanted, exchange_of(group, wanted.workers, folder), run, resume=resume, seed=seed)

    trainers = {name: made(wanted) for name, wanted in REPLICAS.items()}
    made(REPLICAS["taught"].changed(epochs=1), run)
    trainers["resumed"] = made(REPLICAS["taught"], run, resume=True)
    slow = REPLICAS["taught"].changed(learning_rate=1e-6) if group.rank == 0 else REPLICAS["taught"]
    trainers["slow"] = made(slow)
    trainers["slow"].best()  # all agree on which one is kept
    return trainers


def _die(group: Group) -> None:
    """End as a killed process does, in the third step of an epoch."""
    trainer = Trainer(CONFIGS["sync"], events(), seed=5, exchange=exchange_of(group, CONFIGS["sync"].workers))
    for batch, _ in zip(trainer.batches, range(3), strict=False):
        trainer.step(batch)
    os._exit(9)


def command(folder: Path, replicas: Path) -> list[str]:
    """What starts the others; folders of what is resumed."""
    return [sys.executable, __file__, str(folder), str(replicas)]


if __name__ == "__main__":
    with joined(None, []) as (group, _):
        go_through(group, Path(sys.argv[1]))
        be_replicas(group, Path(sys.argv[2]))
        _die(group)
