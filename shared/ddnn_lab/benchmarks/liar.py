"""One device of several that lies as it likes within the protocol: how right the fleet is, by how the local exit fuses.

`python -m ddnn_lab.benchmarks.liar --out results`: the test split of mnist5k and the shipped bundle, or another one,
offline. The policy's thresholds are used as they are. A device that lies says of every event what it would say of
another one (`another event`), or always the same class as strongly as it is let (`one class`, the worst of them), with
features of another event; or it lies with its features alone. Writes liar.json and liar.md.

Legend: N events, D devices, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import load
from ddnn.evaluation import Recorder, decide
from ddnn.evaluation.scores import Scores
from ddnn.golden import score_range
from ddnn.types import Array, Bools, Floats
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["FUSIONS", "Trial", "lies"]

MOST: Final = 8.0  #: as in the network's clipped fusion
ALLOWED: Final = 3.0  #: points that a liar may cost beyond its own absence

Fuse = Callable[[Floats, Bools], Floats]


def _mean(scores: Floats, here: Bools) -> Floats:
    return np.asarray((scores * here[..., None]).sum(axis=1) / np.maximum(here.sum(axis=1), 1)[:, None], np.float32)


def _clipped(scores: Floats, here: Bools) -> Floats:
    return _mean(np.maximum(scores - scores.max(axis=-1, keepdims=True), -MOST), here)


def _median(scores: Floats, here: Bools) -> Floats:
    return np.asarray(np.nanmedian(np.where(here[..., None], scores, np.nan), axis=1), np.float32)


def _trimmed(scores: Floats, here: Bools) -> Floats:
    seen = np.where(here[..., None], scores, np.nan)
    ends = np.nanmax(seen, axis=1) + np.nanmin(seen, axis=1)
    return np.asarray((np.nansum(seen, axis=1) - ends) / np.maximum(here.sum(axis=1) - 2, 1)[:, None], np.float32)


FUSIONS: Final[Mapping[str, Fuse | None]] = {
    "the bundle's": None,
    "clipped": _clipped,
    "trimmed mean": _trimmed,
    "median": _median,
}
"""How the local exit fuses (N, D, K) scores of who is here (N, D)."""


@dataclass(frozen=True)
class Lie:
    """What one device says instead of the truth."""

    name: str
    scores: Array | None = None  #: (N, K), or (K,) of every event; the true ones without
    features: Array | None = None  #: (N, …) as they are sent; the true ones without


def lies(scores: Array, features: Array, low: float, high: float, seed: int) -> list[Lie]:
    """What a device may say that would say `scores` (N, K) and `features` (N, …); scores are clipped to a range."""
    other = np.random.default_rng(seed).permutation(len(scores))
    classes = np.where(np.eye(scores.shape[1], dtype=np.bool_), high, low).astype(np.float32)
    one = [Lie("one class", row, features[other]) for row in classes]
    same = [Lie("features alone", None, features[other])]
    if features.dtype == np.uint8:
        same.append(Lie("features alone", None, np.full_like(features, 255)))
    return [Lie("another event", scores[other], features[other]), *one, *same]


class Trial:
    """A bundle on some events, whose devices may lie."""

    def __init__(self, bundle: Bundle, recorder: Recorder, y: Array) -> None:
        self._bundle, self._recorder, self._y = bundle, recorder, y
        self._true = {name: recorder.below[name] for name in ("device_scores", "device_features")}
        self.devices = self._true["device_scores"].shape[1]

    def accuracy(self, fuse: Fuse | None, scores: Scores) -> float:
        """Percent of the fleet's answers that are right where the local exit fuses so."""
        if fuse:
            assert scores.device is not None
            local = [fuse(scores.device[:, e.devices], scores.present[:, e.devices]) for e in scores.topology.edges]
            scores = replace(scores, local=np.stack(local, axis=1))
        return 100 * decide(scores, self._bundle.policy).accuracy(self._y)

    def without(self, device: int | None = None) -> Scores:
        """What all exits say, with a device lost."""
        here = np.ones(self._true["device_scores"].shape[:2], np.bool_)
        if device is not None:
            here[:, device] = False
        return self._recorder.scores(here)

    def lying(self, device: int, seed: int = 0) -> list[tuple[str, Scores]]:
        """What all exits say under each lie of a device."""
        low, high = score_range(self._bundle, device=device)
        scores, features = (array[:, device] for array in self._true.values())
        below = self._recorder.below
        found = []
        for lie in lies(scores, features, low, high, seed):
            for name, told in (("device_scores", lie.scores), ("device_features", lie.features)):
                if told is not None:
                    below[name] = self._true[name].copy()
                    below[name][:, device] = told
            found.append((lie.name, self.without()))
            below.update(self._true)
        return found


def study(trial: Trial) -> list[dict[str, Any]]:
    """For each fusion the accuracy with all devices, with each one lost, and with each one lying in each way."""
    rows: list[dict[str, Any]] = [
        {"fusion": name, "all": trial.accuracy(fuse, trial.without()), "devices": []} for name, fuse in FUSIONS.items()
    ]
    for device in range(trial.devices):
        lost, told = trial.without(device), trial.lying(device)
        for row, fuse in zip(rows, FUSIONS.values(), strict=True):
            worst: dict[str, float] = {}
            for name, scores in told:
                worst[name] = min(worst.get(name, 100.0), trial.accuracy(fuse, scores))
            without = trial.accuracy(fuse, lost)
            row["devices"].append({"lost": without, "lies": worst, "gap": without - min(worst.values())})
    return rows


def main(
    out: Out = RESULTS,
    bundle: Annotated[Path | None, typer.Option(help="Another bundle than the shipped one.")] = None,
    data: Annotated[str, typer.Option(help="Its data.")] = "mnist5k",
    grid: Annotated[str, typer.Option(help="How each image is cut; empty: it is not.")] = "3x2",
    split: Annotated[str, typer.Option(help="Events: validation, to choose by, or test.")] = "test",
) -> None:
    """Let each device lie, and write how right the fleet is."""
    opened = Bundle.open(bundle or shipped_bundle())
    events = load(data, grid=grid or None).subset(split)
    rows = study(Trial(opened, Recorder(opened, events), events.y))
    document = {"bundle": opened.manifest.name, "data": data, "split": split, "events": len(events), "fusions": rows}
    write(out, "liar", document, allowed=ALLOWED)


if __name__ == "__main__":
    command(__doc__, main)
