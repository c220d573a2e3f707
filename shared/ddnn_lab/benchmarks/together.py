"""Each way to learn together, beside one process with all events and one site with its own: accuracy, rounds, bytes.

`python -m ddnn_lab.benchmarks.together --out study`: digits in 3 × 2 views, two workers, four sites.
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
from torch._C._distributed_c10d import PrefixStore

from ddnn.data import Dataset, load
from ddnn.formatting import markdown, percent, size
from ddnn.network import DDNN
from ddnn.seal import write_atomically
from ddnn.topology import View
from ddnn.training import Config, Loader, Trainer
from ddnn.training.distributed import Group, exchange_of, joined, placed
from ddnn.training.distributed.analysis import model_of
from ddnn.training.distributed.cost import exchanged, served
from ddnn.training.federated import Federated, Federation, Site, parts_of
from ddnn.training.federated import Simulated as SimulatedSites
from ddnn.training.federated.served import server_data
from ddnn.training.federated.wire import HEAD_BYTES
from ddnn.training.loss import validate
from ddnn.training.split import Device, Simulated, Split
from ddnn.training.split.device import alone_of, cut_of
from ddnn.types import Ints

__all__ = ["EXITS", "SITES", "alone", "config", "few", "judged", "main", "own_of"]

SEEDS: Final = (0, 1, 2)
SITES: Final = 4
NETWORK: Final = {
    "local_fusion": "mean",
    "device": {"filters": [8], "cut_filters": 4},
    "edge": {"widths": [48], "cut_width": 128},
    "cloud": {"widths": [64]},
}
TRAINING: Final = {"epochs": 12, "device_weight": 0.1, "local_weight": 0.5, "edge_weight": 0.5}
MODES: Final[dict[str, dict[str, Any]]] = {
    "sync": {},
    "average": {"every": 10},
    "softsync": {"every": 1, "soft": 1},
    "downpour": {"every": 5, "fetch_every": 5, "most_stale": 20},
    "admm": {"every": 5, "rho": 0.001},
}
LONGER: Final = {"admm": 2}
"""Of what needs more passes than the others to come near them, how many times as many."""
WAYS: Final = ("alone", *MODES, "split", "federated")
EXITS: Final = ("device", "local", "edge", "cloud")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the trainings, seed by seed, and write `together.json` and `together.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for together.json and together.md")
    parser.add_argument("--data", default="mnist5k", help="digits: mnist5k, or a file; 3 × 2 views are cut of each")
    parser.add_argument("--epochs", type=int, default=TRAINING["epochs"], help="passes over the training events")
    parser.add_argument("--ways", default=",".join(WAYS), help="which to make, comma-separated; by default all")
    parser.add_argument("--events", type=int, default=0, help="training events, evenly taken; 0: all")
    given = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else list(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    first = config("downpour", given.epochs)
    with joined(None if placed() else first, [sys.executable, "-m", __spec__.name, *words]) as (
        group,
        _,
    ):
        rows: list[dict[str, Any]] = []
        pair = Group(PrefixStore("pair", group.store), group.rank, 2, 3600.0) if group.rank < 2 else None
        for seed in SEEDS:
            data = few(load(given.data, grid="3x2", seed=seed), given.events)
            for row in trainings(data, seed, given.epochs, group, pair, given.ways.split(",")):
                rows.append({"seed": seed, **row})
                if group.rank == 0:
                    print(json.dumps(rows[-1]), flush=True)
                    document = json.dumps(
                        {"data": given.data, "events": given.events, "epochs": given.epochs, "rows": rows}, indent=1
                    )
                    write_atomically(given.out / "together.json", document + "\n")
                    write_atomically(given.out / "together.md", report(rows))


def few(data: Dataset, events: int) -> Dataset:
    """So many of the training events, and all others."""
    rows = np.flatnonzero(data.split == "train")
    if not events or events >= len(rows):
        return data
    kept = rows[np.linspace(0, len(rows) - 1, events).astype(np.int64)]
    return data.take(np.sort(np.concatenate([kept, np.flatnonzero(data.split != "train")])))


def config(mode: str | None, epochs: int) -> Config:
    """The small digits network, in a mode or alone."""
    workers = {"count": 2, "mode": mode, "timeout_s": 3600.0, **MODES[mode]} if mode else {}
    return Config.of({"network": NETWORK, "training": {**TRAINING, "epochs": epochs}, "workers": workers})


def trainings(
    data: Dataset, seed: int, epochs: int, group: Group, pair: Group | None, ways: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row for each way, of the first process; the others go through those they take part in."""
    if group.rank == 0 and "alone" in ways:
        yield {"way": "one process", **alone(data, config(None, epochs), seed, data)}
    for mode in [mode for mode in MODES if mode in ways]:
        passes = LONGER.get(mode, 1) * epochs
        wanted, among = config(mode, passes), pair if mode in ("sync", "average") else group
        if among is None:
            continue
        before, begun = dict(among.traffic.document()), time.perf_counter()
        trainer = Trainer(wanted, data, seed=seed, exchange=exchange_of(among, wanted.workers))
        steps = len(trainer.batches)
        while not trainer.over:
            trainer.epoch()
        taken = time.perf_counter() - begun
        if group.rank == 0:
            after, model = among.traffic.document(), model_of(trainer.network)
            priced = exchanged if mode in ("sync", "average") else served
            predicted = priced(wanted.workers, model, steps).times(passes)
            counted = after["sent"] + after["received"] - before["sent"] - before["received"]
            told = {"counted": counted, "predicted": predicted.sent + predicted.received}
            staleness = trainer.metrics[-1].get("staleness", {}).get("mean")
            yield {"way": mode, "seconds": taken, **told, "stale": staleness, **judged(trainer.best(), data)}
    if group.rank == 0 and "split" in ways:
        yield {"way": "split", **_split(data, seed, epochs)}
    if group.rank == 0 and "federated" in ways:
        for by in ("iid", "classes:2"):
            parts = parts_of(data, SITES, by, seed)
            yield {"way": f"federated, {by}", **_federated(data, parts, seed, epochs)}
            lone = [alone(data, config(None, epochs), seed, own_of(data, rows)) for rows in parts[:2]]
            yield {"way": f"best of two lone sites, {by}", **max(lone, key=lambda each: float(each["cloud"]))}


def own_of(data: Dataset, rows: Ints) -> Dataset:
    """What a site alone has: its own training events, and the validation events."""
    return data.take(np.concatenate([rows, np.flatnonzero(data.split == "validation")]))


def alone(data: Dataset, wanted: Config, seed: int, own: Dataset) -> dict[str, Any]:
    """What one process comes to by its `own` events, on the test events of `data`."""
    begun, trainer = time.perf_counter(), Trainer(wanted, own, seed=seed)
    while not trainer.over:
        trainer.epoch()
    return {"seconds": time.perf_counter() - begun, "counted": 0, "predicted": 0, **judged(trainer.best(), data)}


def _split(data: Dataset, seed: int, epochs: int) -> dict[str, Any]:
    wanted, begun = config(None, epochs).changed(average=0.0), time.perf_counter()
    shapes, classes = [View.of(view) for view in data.views], len(data.classes)
    devices = [
        Device(wanted, index, *alone_of(data, index), shapes=shapes, classes=classes, seed=seed)
        for index in range(data.devices)
    ]
    exchange = Split(Simulated(devices), data)
    trainer = Trainer(wanted, server_data(data), seed=seed, exchange=exchange)
    while not trainer.over:
        trainer.epoch()
    told, events = exchange.traffic.document(), int((data.split == "train").sum())
    cuts = [cut_of(trainer.network, index) for index in range(data.devices)]
    each = [cut.exchanged(len(trainer.batches), events).times(epochs) for cut in cuts]
    predicted = sum(one.sent + one.received for one in each)
    figures = {"counted": told["sent"] + told["received"], "predicted": predicted}
    return {"seconds": time.perf_counter() - begun, **figures, **judged(trainer.best(), data)}


def _federated(data: Dataset, parts: Sequence[Any], seed: int, epochs: int) -> dict[str, Any]:
    wanted, settings, begun = config(None, epochs), Federated(rounds=2 * epochs), time.perf_counter()
    sites = [Site(f"site-{at}", wanted, data.take(rows), settings, seed + at) for at, rows in enumerate(parts)]
    federation = Federation(SimulatedSites(sites), settings, seed)
    server = wanted.changed(epochs=settings.rounds, average=0.0)
    trainer = Trainer(server, server_data(data), seed=seed, exchange=federation)
    while not trainer.over:
        trainer.epoch()
    told = federation.traffic.document()
    predicted = 2 * settings.rounds * len(sites) * (HEAD_BYTES + 4 * sites[0].vector.count)
    figures = {"counted": told["sent"] + told["received"], "predicted": predicted}
    return {"seconds": time.perf_counter() - begun, **figures, **judged(trainer.best(), data)}


@torch.no_grad()
def judged(network: DDNN, data: Dataset) -> dict[str, float]:
    """Accuracy of each exit on the test events, of devices the mean."""
    test = Loader(data, np.flatnonzero(data.split == "test"), batch=256, in_order=True)
    found = validate(network, test, lost=False)
    return {exit: float(np.mean(found[exit])) for exit in EXITS}


def report(rows: Sequence[dict[str, Any]]) -> str:
    """A table over the seeds: mean, and standard deviation of the cloud."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = []
    for way in ways:
        own = [row for row in rows if row["way"] == way]
        means = [percent(float(np.mean([row[exit] for row in own]))) for exit in EXITS]
        spread = f"± {100 * float(np.std([row['cloud'] for row in own], ddof=1)):.1f}" if len(own) > 1 else ""
        sizes = [size(int(own[0][key])) if own[0][key] else "—" for key in ("counted", "predicted")]
        seconds = f"{float(np.mean([row['seconds'] for row in own])):.0f}"
        lines.append([way, *means, spread, *sizes, seconds, str(len(own))])
    heads = ["", *EXITS, "", "bytes counted", "predicted", "seconds", "seeds"]
    return markdown(heads, lines) + "\n"


if __name__ == "__main__":
    main()
