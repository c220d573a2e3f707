"""Replicas that learn from each other, beside replicas that do not: accuracy, and what two retrainings disagree on.

`python -m ddnn_lab.benchmarks.codistill --out study`: digits in 3 × 2 views, two replicas with half of the events each.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ddnn.data import Dataset, load
from ddnn.formatting import markdown, percent, size
from ddnn.network import DDNN
from ddnn.seal import write_atomically
from ddnn.training import Config, Loader, Trainer
from ddnn.training.distributed import Group, exchange_of, joined, placed, seed_of
from ddnn.training.distributed.analysis import model_of
from ddnn.training.distributed.cost import exchanged
from ddnn.training.loader import Batch
from ddnn.types import Floats
from ddnn_lab.benchmarks.together import EXITS, NETWORK, few, judged

__all__ = ["main", "report"]

TRAINING: Final = {
    "keep": "last",
    "device_weight": 0.1,
    "local_weight": 0.5,
    "edge_weight": 0.5,
    "device_dropout": 0.2,
    "whole": 0.5,
}
WAYS: Final[dict[str, dict[str, Any]]] = {
    "apart, half of the events each": {"others_weight": 0.0},
    "codistilled, half of the events each": {"others_weight": 1.0},
    "codistilled, the same events": {"others_weight": 1.0, "events": "same"},
}
AGAIN: Final = 1000  #: between the seeds of two retrainings: replicas have seeds one after the other


def main(arguments: Sequence[str] | None = None) -> None:
    """Train twice in each way, seed by seed, and write `codistill.json` and `codistill.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for codistill.json and codistill.md")
    parser.add_argument("--data", default="mnist5k", help="digits: mnist5k, or a file; 3 × 2 views are cut of each")
    parser.add_argument("--epochs", type=int, default=16, help="passes over a replica's training events")
    parser.add_argument("--burn-in", type=int, default=2, help="epochs of them before replicas listen")
    parser.add_argument("--every", type=int, default=20, help="steps between two exchanges")
    parser.add_argument("--events", type=int, default=0, help="training events, evenly taken; 0: all")
    parser.add_argument("--seeds", type=int, default=5, help="how often all is done")
    parser.add_argument("--halves", action="store_true", help="only replicas with half of the events each")
    given = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else list(arguments)
    first = config(given, others_weight=1.0)
    with joined(None if placed() else first, [sys.executable, "-m", __spec__.name, *words]) as (group, _):
        rows: list[dict[str, Any]] = []
        for seed in range(given.seeds):
            data = few(load(given.data, grid="3x2", seed=seed), given.events)
            for row in compared(data, seed, given, group):
                rows.append({"seed": seed, **row})
                if group.rank == 0:
                    given.out.mkdir(parents=True, exist_ok=True)
                    print(json.dumps(rows[-1]), flush=True)
                    document = {**{key: value for key, value in vars(given).items() if key != "out"}, "rows": rows}
                    write_atomically(given.out / "codistill.json", json.dumps(document, indent=1) + "\n")
                    write_atomically(given.out / "codistill.md", report(rows))


def config(given: argparse.Namespace, **workers: Any) -> Config:
    """The small digits network, in a way of learning; alone without `workers`."""
    told = {"count": 2, "mode": "codistill", "every": given.every, "burn_in": given.burn_in, "timeout_s": 3600.0}
    training = {**TRAINING, "epochs": given.epochs}
    return Config.of({"network": NETWORK, "training": training, "workers": told | workers if workers else {}})


def compared(data: Dataset, seed: int, given: argparse.Namespace, group: Group) -> Iterator[dict[str, Any]]:
    """A row for each way; both processes go through all."""
    test = Loader(data, np.flatnonzero(data.split == "test"), batch=256, in_order=True)
    if group.rank == 0 and not given.halves:
        wanted, begun = config(given), time.perf_counter()
        runs = [_told(_made(wanted, data, seed + again, None), data, test) for again in (0, AGAIN)]
        yield {"way": "one network, all events", "seconds": time.perf_counter() - begun, **_row([runs[0]], [runs[1]])}
    for way, workers in list(WAYS.items())[: 2 if given.halves else None]:
        wanted, begun, before = config(given, **workers), time.perf_counter(), group.traffic.document()
        pairs, kept = list[list[Floats]](), list[int]()
        counted = predicted = 0
        for again in (0, AGAIN):
            trainer = _made(wanted, data, seed + again, group)
            after = group.traffic.document()
            counted = after["sent"] + after["received"] - before["sent"] - before["received"]
            once = exchanged(wanted.workers, model_of(trainer.network), len(trainer.batches))
            listening = (given.epochs - given.burn_in) * bool(wanted.workers.others_weight)
            predicted = (once.sent + once.received) * listening
            pairs.append([each.numpy() for each in group.gather(torch.from_numpy(_told(trainer, data, test)))])
            scores = trainer.metrics[-1]["replicas"]
            kept.append(scores.index(max(scores)))
            before = group.traffic.document()
        yield {
            "way": way,
            "seconds": time.perf_counter() - begun,
            "counted": counted,
            "predicted": predicted,
            **_row(*pairs),
            "kept": float(np.mean([pair[index][3] for pair, index in zip(pairs, kept, strict=True)])),
        }


def _made(wanted: Config, data: Dataset, seed: int, group: Group | None) -> Trainer:
    """A trainer that has made all epochs, with the averaged weights."""
    exchange = exchange_of(group, wanted.workers) if group else None
    own = seed_of(wanted.workers, group.rank, seed) if group else seed
    trainer = Trainer(wanted, data, seed=own, exchange=exchange)
    while not trainer.over:
        trainer.epoch()
    trainer.network.load_state_dict(trainer.state(averaged=True))
    trainer.network.eval()
    return trainer


def _told(trainer: Trainer, data: Dataset, test: Loader) -> Floats:
    """Accuracy of each exit on the test events, then the label of each exit but the devices' for each of them."""
    right = judged(trainer.network, data)
    labels = [_labels(trainer.network, batch) for batch in test]
    return np.concatenate([[right[exit] for exit in EXITS], np.concatenate(labels, axis=1).ravel()])


@torch.no_grad()
def _labels(network: DDNN, batch: Batch) -> Floats:
    """(3, B)."""
    scored = network(batch.views, batch.present)
    exits = [each.mean(dim=1) for each in (scored.local, scored.edge) if each is not None] + [scored.cloud]
    return torch.stack([each.argmax(dim=1) for each in exits]).double().numpy()


def _row(first: Sequence[Floats], again: Sequence[Floats]) -> dict[str, Any]:
    """Means over replicas and retrainings; churn by exit of each replica with itself, retrained."""
    right = np.mean([each[: len(EXITS)] for each in (*first, *again)], axis=0)
    labels = [[each[len(EXITS) :].reshape(len(EXITS) - 1, -1) for each in run] for run in (first, again)]
    churn = np.mean([(one != other).mean(axis=1) for one, other in zip(*labels, strict=True)], axis=0)
    figures = {exit: float(each) for exit, each in zip(EXITS, right, strict=True)}
    return figures | {f"churn_{exit}": float(each) for exit, each in zip(EXITS[1:], churn, strict=True)}


def report(rows: Sequence[dict[str, Any]]) -> str:
    """A table over the seeds: means, and in how many seeds codistillation is better than learning apart."""
    lines = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        keys = [*EXITS, "churn_local", "churn_edge", "churn_cloud"]
        means = [percent(float(np.mean([row[key] for row in own]))) for key in keys]
        sizes = [size(int(own[0][key])) if own[0].get(key) else "—" for key in ("counted", "predicted")]
        lines.append([way, *means, *sizes, f"{float(np.mean([row['seconds'] for row in own])):.0f}", str(len(own))])
    heads = ["", *EXITS, "churn local", "edge", "cloud", "bytes counted", "predicted", "seconds", "seeds"]
    return markdown(heads, lines) + f"\n{_sentence(rows)}\n"


def _sentence(rows: Sequence[dict[str, Any]]) -> str:
    apart, codistilled = ([row for row in rows if row["way"] == way] for way in list(WAYS)[:2])
    pairs = list(zip(apart, codistilled, strict=False))
    better = sum(one["cloud"] < other["cloud"] for one, other in pairs)
    calmer = sum(one["churn_cloud"] > other["churn_cloud"] for one, other in pairs)
    return (
        f"Of {len(pairs)} seeds, the cloud exit of codistilled replicas is better than of those apart in {better}, "
        f"and its churn lower in {calmer}."
    )


if __name__ == "__main__":
    main()
