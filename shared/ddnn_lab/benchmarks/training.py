"""How many events a second training learns, in this tree and in another checkout beside it, in one run.

`python -m ddnn_lab.benchmarks.training SOURCE --beside CHECKOUT --out DIR [--grid 3x2] [--config mnist] [--epochs 3]`.
Whole epochs from the first one, with their validation, by turns in processes of their own: once with the threads that
torch takes by default, of which this tree may use fewer, once with one. Each number is the median of the rounds.
`--busy 2` does so beside two other processes that never rest. `git worktree add CHECKOUT TAG` makes a checkout.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer

import ddnn
from ddnn.errors import BadInput
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["measured"]

PROBE: Final = """
import json, sys, time
import numpy as np
import torch
from ddnn.configs import config_file
from ddnn.data import load
from ddnn.training import Config, Trainer

source, grid, files, epochs, most = json.loads(sys.argv[1])
data = load(source, grid=grid)
learning = np.flatnonzero(data.split == "train")
if most and most < len(learning):
    kept = learning[np.linspace(0, len(learning) - 1, most).astype(np.int64)]
    data = data.take(np.sort(np.concatenate([np.flatnonzero(data.split != "train"), kept])))
trainer = Trainer(Config.read(*map(config_file, files)), data)
begun, used = time.perf_counter(), time.process_time()
for _ in range(epochs):
    record = trainer.epoch()
seconds, used = time.perf_counter() - begun, time.process_time() - used
events = epochs * int((data.split == "train").sum())
threads = getattr(trainer, "speed", {}).get("threads", torch.get_num_threads())
found = {"events_per_s": events / seconds, "cpu_ms": 1000 * used / events, "threads": threads, "score": record["score"]}
print(json.dumps(found))
"""
"""What runs in each checkout, with names that both have."""
THREADS: Final = {"torch's default": {}, "one": {"OMP_NUM_THREADS": "1"}}


def measured(root: Path, threads: str, wish: list[Any]) -> dict[str, Any]:
    """What a training by the code under `root` does: `events_per_s`, `cpu_ms` an event, `threads`, `score`."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    # Nothing else of the checkout is imported, but its package must be found before an installed one.
    environment = {**clean, **THREADS[threads], "PYTHONPATH": str(root / "shared")}
    call = [sys.executable, "-c", PROBE, json.dumps(wish)]
    made = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        last = made.stderr.strip().splitlines()[-1:]
        raise BadInput(f"the training by {root} failed: {''.join(last)}")
    return dict(json.loads(made.stdout))


@contextmanager
def beside_others(count: int) -> Iterator[None]:
    """So many processes take what they can of the cores."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def main(
    source: Annotated[str, typer.Argument(help="A .npz file, or a packaged data set.")],
    beside: Annotated[Path, typer.Option(help="Checkout of the code to compare with.")],
    out: Out = RESULTS,
    grid: Annotated[str | None, typer.Option(help="Cut whole images into views, columns x rows.")] = None,
    config: Annotated[list[str] | None, typer.Option(help="TOML file, or packaged config; later ones win.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 3,
    events: Annotated[int, typer.Option(min=0, help="Most training events, evenly taken; 0: all.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Of all, by turns.")] = 3,
    busy: Annotated[int, typer.Option(min=0, help="Other processes that never rest.")] = 0,
) -> None:
    """Measure and write `training.{json,md}`."""
    if not (beside / "shared" / "ddnn").is_dir():
        raise BadInput(f"--beside is {beside}, which holds no shared/ddnn; expected a checkout of ddnn")
    wish = [source, grid, config or [], epochs, events]
    roots = {"before": beside.absolute(), "now": Path(ddnn.__file__).parents[2]}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {(name, each): [] for each in THREADS for name in roots}
    with beside_others(busy):
        for (name, threads), kept in list(found.items()) * rounds:
            kept.append(measured(roots[name], threads, wish))
            print(name, threads, kept[-1], file=sys.stderr, flush=True)
    middle = {
        at: {key: median(one[key] for one in kept) for key in ("events_per_s", "cpu_ms", "score")}
        | {"threads": sorted({one["threads"] for one in kept})}
        for at, kept in found.items()
    }
    rows = [
        {"given": threads, "before": before, "now": now, "times": now["events_per_s"] / before["events_per_s"]}
        for threads in THREADS
        for before, now in [(middle["before", threads], middle["now", threads])]
    ]
    how = {"epochs": epochs, "events": events, "rounds": rounds, "busy": busy, "load": os.getloadavg()[0]}
    write(out, "training", {"name": Path(source).stem, **how, "rows": rows})


if __name__ == "__main__":
    command(__doc__, main)
