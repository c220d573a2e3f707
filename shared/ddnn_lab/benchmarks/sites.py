"""Sites that keep their events, beside one process with all of them and the best site alone: accuracy, rounds, bytes.

`python -m ddnn_lab.benchmarks.sites --out study`: digits in 3 × 2 views, four sites, alike or of two classes each.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.data import Dataset, load
from ddnn.formatting import markdown, percent, size
from ddnn.seal import write_atomically
from ddnn.training import Trainer
from ddnn.training.distributed.cost import averaged
from ddnn.training.federated import Federated, Federation, Simulated, Site, parts_of
from ddnn.training.federated.served import server_data
from ddnn.types import Ints
from ddnn_lab.benchmarks.together import EXITS, SITES, alone, config, few, judged, own_of

__all__ = ["main"]

AVERAGE: Final = 0.8  #: share of the past in the mean over rounds that is kept
CENTRAL: Final = "one process, all events"
Way = tuple[str, dict[str, Any] | None]
"""How events are dealt, and what a federated training sets; none: each site learns alone."""
WAYS: Final[dict[str, Way]] = {
    "best of four sites alone, iid": ("iid", None),
    "best of four sites alone, two classes a site": ("classes:2", None),
    "scaffold, steady norms, iid": ("iid", {"method": "scaffold", "steady": 0.3}),
    "scaffold, steady norms, two classes a site": ("classes:2", {"method": "scaffold", "steady": 0.3}),
    "fedavg, iid": ("iid", {}),
    "fedavg, two classes a site": ("classes:2", {}),
    "fedprox, two classes a site": ("classes:2", {"method": "fedprox", "mu": 0.1}),
    "scaffold, two classes a site": ("classes:2", {"method": "scaffold"}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the trainings, seed by seed, and write `sites.json` and `sites.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for sites.json and sites.md")
    parser.add_argument("--data", default="mnist5k", help="digits: mnist5k, or a file; 3 × 2 views are cut of each")
    parser.add_argument("--events", type=int, default=1200, help="training events, evenly taken; 0: all")
    parser.add_argument("--rounds", type=int, default=150, help="rounds of one pass over a site's events")
    parser.add_argument("--epochs", type=int, default=150, help="passes of the one process over all events")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--only", nargs="*", default=[""], help="ways whose names have one of these words")
    parser.add_argument("--sites", type=int, default=SITES, help="how many share the events")
    parser.add_argument("--noise", nargs="*", type=float, default=[], help="ways more: clipped to 1, with such noise")
    given = parser.parse_args(arguments)
    ways = {name: way for name, way in WAYS.items() if any(word in name for word in given.only)}
    ways |= {f"clip 1, noise {noise:g}, iid": ("iid", {"clip": 1.0, "noise": noise}) for noise in given.noise}
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        data = few(load(given.data, grid="3x2", seed=seed), given.events)
        for row in trainings(data, seed, given.epochs, given.rounds, ways, given.sites):
            rows.append({"seed": seed, **row})
            print(json.dumps(rows[-1]), flush=True)
            told = {key: value for key, value in vars(given).items() if key != "out"}
            write_atomically(given.out / "sites.json", json.dumps({**told, "rows": rows}, indent=1) + "\n")
            write_atomically(given.out / "sites.md", report(rows))


def trainings(
    data: Dataset, seed: int, epochs: int, rounds: int, ways: Mapping[str, Way], sites: int
) -> Iterator[dict[str, Any]]:
    """A row for each way."""
    wanted = config(None, epochs)
    yield {"way": CENTRAL, **alone(data, wanted, seed, data)}
    for way, (by, wishes) in ways.items():
        parts = parts_of(data, sites, by, seed)
        if wishes is None:
            lone = [alone(data, wanted, seed, own_of(data, rows)) for rows in parts]
            yield {"way": way, **max(lone, key=lambda each: float(each["cloud"]))}
        else:
            yield {"way": way, "rounds": rounds, **federated(data, Federated(rounds=rounds, **wishes), parts, seed)}


def federated(data: Dataset, settings: Federated, parts: Sequence[Ints], seed: int) -> dict[str, Any]:
    """What one way of federated training comes to."""
    begun, wanted = time.perf_counter(), config(None, settings.rounds)
    sites = [Site(f"site-{at}", wanted, data.take(rows), settings, seed + at) for at, rows in enumerate(parts)]
    federation = Federation(Simulated(sites), settings, seed)
    server = wanted.changed(epochs=settings.rounds, average=AVERAGE)
    trainer = Trainer(server, server_data(data), seed=seed, exchange=federation)
    while not trainer.over:
        trainer.epoch()
    told = federation.traffic.document()
    predicted = averaged(len(sites), sites[0].count).times(settings.rounds)
    figures: dict[str, Any] = {
        "counted": told["sent"] + told["received"],
        "predicted": predicted.sent + predicted.received,
    }
    if settings.clip:
        figures |= federation.document()["privacy"]
    return {**figures, "seconds": time.perf_counter() - begun, **judged(trainer.best(), data)}


def report(rows: Sequence[dict[str, Any]]) -> str:
    """A table over the seeds: means, and how far the cloud is from that of one process, each seed and on average."""
    central = {row["seed"]: row["cloud"] for row in rows if row["way"] == CENTRAL}
    lines = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        means = [percent(float(np.mean([row[exit] for row in own]))) for exit in EXITS]
        away = [100 * (row["cloud"] - central[row["seed"]]) for row in own]
        told = f"{np.mean(away):+.1f} ({', '.join(f'{each:+.1f}' for each in away)})" if way != CENTRAL else "—"
        sizes = [size(int(own[0][key])) if own[0][key] else "—" for key in ("counted", "predicted")]
        seconds = f"{float(np.mean([row['seconds'] for row in own])):.0f}"
        lines.append([way, *means, told, *sizes, seconds, str(len(own))])
    heads = ["", *EXITS, "cloud, to one process", "bytes counted", "predicted", "seconds", "seeds"]
    return markdown(heads, lines) + "\n"


if __name__ == "__main__":
    main()
