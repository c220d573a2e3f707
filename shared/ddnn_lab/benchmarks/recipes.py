"""What `ddnn train` makes of data with its defaults, beside simple classifiers on the same split, over seeds.

`python -m ddnn_lab.benchmarks.recipes --train "gas.npz" --train "rig.npz --group-by block" --seeds 3 --out DIR`.
Each `--train` is what stands behind `ddnn train`; of each seed a bundle, kept in the folder: what is there is not made
again. Figures are those of the manifests, on the test events.
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.types import Exit
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["figures", "trained"]


def trained(wish: str, seed: int, minutes: float, out: Path) -> Bundle:
    """The bundle that `ddnn train WISH --seed SEED` makes in `out`, unless it is there."""
    source, *more = shlex.split(wish)
    bundle = out / f"{Path(source).stem}-{seed}"
    if not bundle.is_dir():
        call = [
            "train",
            source,
            *more,
            "--out",
            str(bundle),
            "--seed",
            str(seed),
            "--minutes",
            f"{minutes:g}",
            "--force",
        ]
        made = subprocess.run([sys.executable, "-m", "ddnn", *call], check=False)
        if made.returncode:
            raise BadInput(f"`ddnn {shlex.join(call)}` ended with exit code {made.returncode}")
    return Bundle.open(bundle)


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Test accuracies of a manifest's report in 0..1: ours, and of simple classifiers on all devices and on one."""
    yardstick, exits = report["yardstick"], report["exits"]
    alone = max(yardstick["alone"], key=lambda each: each["validation"]["accuracy"], default=None)
    simple = {name: each["test"]["accuracy"] for name, each in yardstick["all"].items()}
    return {
        **{exit.value: exits[exit.value]["accuracy"] for exit in Exit if exit is not Exit.DEVICE and exits[exit.value]},
        "overall": report["overall"]["accuracy"],
        "below": 1 - report["overall"]["exit_share"]["cloud"],
        **simple,
        "best": max(simple.values()),
        "alone": alone["test"]["accuracy"] if alone else 0.0,
    }


def _means(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(each[name] for each in seeds) for name in seeds[0]}


def main(
    train: Annotated[list[str], typer.Option(help="Source, and options of `ddnn train`, as one word; repeatable.")],
    out: Out = RESULTS,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with the seeds 0, 1, ….")] = 3,
    minutes: Annotated[float, typer.Option(min=0, help="What each may look for a recipe.")] = 10.0,
) -> None:
    """Train, and write `recipes.{json,md}`."""
    rows = []
    for wish in train:
        bundles = [trained(wish, seed, minutes, out) for seed in range(seeds)]
        each = [figures(bundle.manifest.training.test) for bundle in bundles]
        rows.append({"name": Path(shlex.split(wish)[0]).stem, "train": wish, "seeds": each, "mean": _means(each)})
    write(out, "recipes", {"minutes": minutes, "rows": rows})


if __name__ == "__main__":
    command(__doc__, main)
