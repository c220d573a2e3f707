"""How many events a second training learns, in this tree and in another checkout beside it, in one run.

`python -m ddnn_lab.benchmarks.training SOURCE --beside CHECKOUT --out DIR [--grid 3x2] [--config mnist] [--epochs 3]`.
Whole epochs with their validation, after one that is not counted, by turns in processes of their own: once with the
threads that torch takes by default, of which this tree may use fewer, once with one. Each number is the median of the
rounds. `git worktree add CHECKOUT TAG` makes a checkout.
"""

import json
import os
import subprocess
import sys
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
import torch
from ddnn.configs import config_file
from ddnn.data import load
from ddnn.training import Config, Trainer

source, grid, files, epochs = json.loads(sys.argv[1])
data = load(source, grid=grid)
trainer = Trainer(Config.read(*map(config_file, files)), data)
trainer.epoch()
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


def main(
    source: Annotated[str, typer.Argument(help="A .npz file, or a packaged data set.")],
    beside: Annotated[Path, typer.Option(help="Checkout of the code to compare with.")],
    out: Out = RESULTS,
    grid: Annotated[str | None, typer.Option(help="Cut whole images into views, columns x rows.")] = None,
    config: Annotated[list[str] | None, typer.Option(help="TOML file, or packaged config; later ones win.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="That are counted, of each round.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Of all, by turns.")] = 3,
) -> None:
    """Measure and write `training.{json,md}`."""
    if not (beside / "shared" / "ddnn").is_dir():
        raise BadInput(f"--beside is {beside}, which holds no shared/ddnn; expected a checkout of ddnn")
    wish = [source, grid, config or [], epochs]
    roots = {"before": beside.absolute(), "now": Path(ddnn.__file__).parents[2]}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {(name, each): [] for each in THREADS for name in roots}
    for _ in range(rounds):
        for (name, threads), kept in found.items():
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
    load = list(os.getloadavg())
    write(out, "training", {"name": Path(source).stem, "epochs": epochs, "rounds": rounds, "rows": rows, "load": load})


if __name__ == "__main__":
    command(__doc__, main)
