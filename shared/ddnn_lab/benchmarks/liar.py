"""One device of several that lies as it likes within the protocol: how right the fleet is.

`python -m ddnn_lab.benchmarks.liar --out results`: the test split of mnist5k and the shipped bundle, or another one,
offline. The policy's thresholds are used as they are. A device that lies says of every event what it would say of
another one (`another event`); or always one class as strongly as it is let, the worst of them, with features of another
event or those found to move the edge towards that class most (`one class`); or lies with features alone. `what it sees`
is the worst of all these for each class that it takes the event for; `all it could`, for each event, as if it knew the
label and what the others say: no device does.

`in a stream`: the events come one after the other, in random order, to an edge that sets aside who contradicts the
others (`ddnn.drift.outliers`), under the bundle's policy. The device lies in so large a share of them, `SHARES`, as
harms most: all the time it is soon set aside, and now and then perhaps never. Writes liar.json and liar.md.

Legend: N events, D devices, K classes, L lies.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import load
from ddnn.drift import OutlierMonitor
from ddnn.evaluation import Recorder, decide
from ddnn.evaluation.scores import Scores
from ddnn.golden import score_range
from ddnn.types import Array, Bools, Exit
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["Trial", "lies", "study"]

TRIED: Final = 4
"""How often a liar tries random features on all events to find what they do."""
ALLOWED: Final = 3.0  #: points that a liar may cost beyond its own absence
SHARES: Final = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2)
"""Of the events, those that a device lies in, where its edge watches."""


@dataclass(frozen=True)
class Lie:
    """What one device says instead of the truth."""

    name: str
    scores: Array | None = None  #: (N, K), or (K,) of every event; the true ones without
    features: Array | None = None  #: (N, …) as they are sent; the true ones without


def lies(scores: Array, features: Array, found: Array | None, low: float, high: float, seed: int) -> list[Lie]:
    """What a device may say that would say `scores` (N, K) and `features` (N, …); scores are clipped to a range.

    `found` (K, …) are the features that move the exits above to each class most, if they are bits.
    """
    other = np.random.default_rng(seed).permutation(len(scores))
    classes = np.where(np.eye(scores.shape[1], dtype=np.bool_), high, low).astype(np.float32)
    said = [Lie("another event", scores[other], features[other])]
    said += [Lie("one class", row, features[other]) for row in classes]
    said.append(Lie("features alone", None, features[other]))
    if found is not None:
        said += [Lie("one class", row, bits) for row, bits in zip(classes, found, strict=True)]
        said += [Lie("features alone", None, bits) for bits in found]
    return said


class Trial:
    """A bundle on some events, whose devices may lie."""

    def __init__(self, bundle: Bundle, recorder: Recorder, y: Array) -> None:
        self._bundle, self._recorder, self._y = bundle, recorder, y
        self._true = {name: recorder.below[name] for name in ("device_scores", "device_features")}
        self.devices = self._true["device_scores"].shape[1]

    def right(self, scores: Scores) -> Bools:
        """(N,) whether the fleet's answers are right."""
        return np.asarray(decide(scores, self._bundle.policy).label == self._y)

    def takes(self, device: int) -> Array:
        """(N,) the class that a device takes each event for, by itself."""
        return np.asarray(self._true["device_scores"][:, device].argmax(axis=1))

    def without(self, *devices: int) -> Scores:
        """What all exits say, with some devices lost."""
        here = np.ones(self._true["device_scores"].shape[:2], np.bool_)
        here[:, devices] = False
        return self._recorder.scores(here)

    def lying(self, device: int, seed: int = 0) -> list[tuple[str, Scores]]:
        """What all exits say under each lie of a device."""
        low, high = score_range(self._bundle, device=device)
        scores, features = (array[:, device] for array in self._true.values())
        said = lies(scores, features, self.found(device, seed), low, high, seed)
        return [(lie.name, self.told(device, lie.scores, lie.features)) for lie in said]

    def streamed(self, device: int, said: Array, right: Bools, lies: Bools, seed: int = 0) -> tuple[Bools, int | None]:
        """(N,) what is right in a stream where a device `lies` in some events (N,); after how many it was set aside.

        In these it says scores (N, K), and the answers would be as `right` (N,) has it. Without a promise of how
        devices agree none is set aside.
        """
        policy, lost = self._bundle.policy, dict[tuple[int, ...], Bools]()
        true = self._true["device_scores"]
        told = true.copy()
        told[lies, device] = said[lies]
        found = np.where(lies, right, self.right(self.without()))
        if not policy.promise or not policy.promise.dissent:
            return found, None
        promised, asked = np.array(policy.promise.dissent), policy.outliers
        monitor = OutlierMonitor(promised, keep=asked.keep, false_alarm=asked.false_alarm, clock=lambda: 0.0)
        here, after = np.ones(self.devices, np.bool_), None
        for place, event in enumerate(np.random.default_rng(seed).permutation(len(true)).tolist()):
            if aside := tuple(monitor.aside):
                if aside not in lost:
                    lost[aside] = self.right(self.without(*aside))
                # Who is aside by mistake leaves the liar's say as it is; the truth is no worse than that.
                found[event] = lost[aside][event] if device in aside else found[event] & lost[aside][event]
            out, _ = monitor.note(told[event], here)
            after = place + 1 if out == device and after is None else after
        return found, after

    def found(self, device: int, seed: int = 0) -> Array | None:
        """(K, …) the bits of a device that move the exit above towards each class most; none unless they are bits.

        Found as anybody may who can ask: random bits, and a linear fit of what that exit says by them.
        """
        shape = self._true["device_features"][:, device].shape
        if self._true["device_features"].dtype != np.uint8:
            return None
        chance = np.random.default_rng((seed, device))
        bits, said = [], []
        for _ in range(TRIED):
            packed = chance.integers(0, 256, shape, np.uint8)
            scores = self.told(device, None, packed)
            above = scores.cloud if scores.edge is None else scores.edge[:, scores.topology.edge_of(device)]
            bits.append(np.unpackbits(packed.reshape(len(packed), -1), axis=1))
            said.append(above - above.mean(axis=1, keepdims=True))
        tried, heard = np.concatenate(bits) - 0.5, np.concatenate(said)
        slopes = np.linalg.lstsq(tried, heard - heard.mean(axis=0), rcond=None)[0]
        return np.packbits(slopes.T > 0, axis=1).reshape(-1, *shape[1:])

    def told(self, device: int, scores: Array | None, features: Array | None) -> Scores:
        """What all exits say where a device says these, (N, K) or (K,) and (N, …) or (…); the truth without."""
        below = self._recorder.below
        for name, told in (("device_scores", scores), ("device_features", features)):
            if told is not None:
                below[name] = self._true[name].copy()
                below[name][:, device] = told
        found = self.without()
        below.update(self._true)
        return found


def study(trial: Trial) -> dict[str, Any]:
    """The accuracy with all devices, with each one lost, and with each one lying in each way, in percent."""
    devices, chance = [], np.random.default_rng(0)
    for device in range(trial.devices):
        own, lying = trial.takes(device), trial.lying(device)
        right = [(name, trial.right(scores)) for name, scores in lying]
        worst = {name: min(_percent(each) for other, each in right if other == name) for name, _ in right}
        each = np.stack([each for _, each in right])
        worst["what it sees"] = 100 * sum(each[:, own == k].sum(axis=1).min() for k in np.unique(own)) / len(own)
        worst["all it could"] = _percent(np.asarray(each.all(axis=0)))
        lost = _percent(trial.right(trial.without(device)))
        lie = np.array([each[:, own == k].sum(axis=1).argmin() for k in range(own.max() + 1)])[own]
        rows = np.arange(len(own))
        said = np.stack([scores.of(Exit.DEVICE)[:, device] for _, scores in lying])[lie, rows]
        stream: list[dict[str, Any]] = []
        for share in SHARES:
            lies = chance.random(len(own)) < share
            streamed, after = trial.streamed(device, said, each[lie, rows], lies)
            stream.append({"share": share, "right": _percent(streamed), "set aside after": after})
        worst["in a stream"] = min(each["right"] for each in stream)
        gap = lost - worst["in a stream"]
        devices.append({"lost": lost, "lies": worst, "stream": stream, "gap": gap})
    return {"all": _percent(trial.right(trial.without())), "devices": devices}


def _percent(right: Bools) -> float:
    return 100 * float(right.mean())


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
    about = {"bundle": opened.manifest.name, "data": data, "split": split, "events": len(events)}
    document = about | study(Trial(opened, Recorder(opened, events), events.y))
    write(out, "liar", document, allowed=ALLOWED)


if __name__ == "__main__":
    command(__doc__, main)
