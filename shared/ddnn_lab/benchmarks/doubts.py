"""A stream that drifts, 200 labels, a round of learning: whether labels chosen by doubt are worth more than by chance.

`python -m ddnn_lab.benchmarks.doubts --out results`: mnist5k, six views a digit, offline. A network learns 1,500
training digits; the others come as a stream of which a part, or all, has faded and blurred. 200 of these are labelled:
`doubted`, by chance among the answers less sure than --unsure, as `ddnn doubts export` does; `most doubtful`, the least
sure; `by chance`, among all. They are split as an exported file is, and learnt from as `ddnn train SOURCE --from BUNDLE
--also FILE` does, or without the first data (`alone`). Accuracy is that of the fleet under its policy, on test digits
that all have drifted, and on test digits as they were. Writes doubts.json and doubts.md.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.configs import config_file
from ddnn.data import Dataset, load, mixed
from ddnn.data.labelled import Labelled
from ddnn.evaluation import decide, record
from ddnn.formatting import markdown, percent
from ddnn.types import Array, Bools, Floats, Ints
from ddnn_lab.benchmarks import RESULTS, Out, Quick, command, write
from ddnn_lab.drifting import Drift, drifting

__all__ = ["WAYS", "asked", "labelled", "study", "worn"]

SHARES: Final = {"a fifth": 0.2, "all": 1.0}  #: of the stream that drifts
WAYS: Final = {
    "a fifth": ("doubted", "doubted, alone", "most doubtful", "by chance"),
    "all": ("doubted", "by chance"),
}
DRIFT: Final = Drift(fade=0.6, blur=1.0)
_FIRST: Final = 1500  #: digits that the first network learns and is validated on
_CONFIG: Final = "mnist5k"


def worn(data: Dataset, drift: Drift, seed: int, share: float = 1.0) -> tuple[Dataset, Bools]:
    """The events of `data`, of which a share is as it is when the drift is over; and which (N,)."""
    stream, _ = drifting(data, replace(drift, begins=-1.0, over=0.1), events=len(data), seed=seed)
    by_row = {row: place for place, row in enumerate(data.index.tolist())}
    before = data.take([by_row[row] for row in stream.index.tolist()])
    some = np.random.default_rng(seed + 1).random(len(data)) < share
    views = tuple(
        np.where(some.reshape(-1, *[1] * (new.ndim - 1)), new, np.asarray(old))
        for new, old in zip(stream.views, before.views, strict=True)
    )
    return replace(stream, views=views, present=np.where(some[:, None], stream.present, before.present)), some


def asked(way: str, confidence: Floats, labels: int, unsure: float, seed: int) -> Ints:
    """The rows of a stream, as sure as `confidence` (N,), that are labelled; fewer where fewer are doubted."""
    if way == "most doubtful":
        return np.argsort(confidence, kind="stable")[:labels]
    among = np.arange(len(confidence)) if way == "by chance" else np.flatnonzero(confidence < unsure)
    return np.random.default_rng(seed).permutation(among)[:labels]


def labelled(stream: Dataset, rows: Ints, file: Path) -> Dataset:
    """These events of a stream, as they come out of an exported file once they are labelled."""
    names = [f"event {row}" for row in rows.tolist()]
    about: dict[str, Array] = dict.fromkeys(("kind", "answer", "exit", "confidence", "at"), np.zeros(len(rows)))
    views = tuple(view[rows] for view in stream.views)
    fresh = Labelled.fresh(views, stream.present[rows], stream.classes, event=np.array(names), **about)
    given = zip(names, (stream.classes[label] for label in stream.y[rows].tolist()), strict=True)
    fresh.set(given)[0].write(file)
    return load(str(file))


def study(
    seeds: int = 3,
    labels: int = 200,
    unsure: float = 0.8,
    first_epochs: int = 10,
    epochs: int = 5,
    quick: Quick = False,
    out: Out = RESULTS,
) -> None:
    """Compare the ways of choosing labels over so many seeds."""
    if quick:
        seeds, first_epochs, epochs = 1, 1, 1
    rounds: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        for seed in range(seeds):
            found = _Seed(Path(folder), seed, first_epochs)
            for share in SHARES:
                rounds += found.rounds(share, labels, unsure, epochs)
    asked_for = {"labels": labels, "unsure": unsure, "seeds": seeds, "first_epochs": first_epochs, "epochs": epochs}
    write(out, "doubts", {**asked_for, "rounds": rounds}, page=_page({**asked_for, "rounds": rounds}))


class _Seed:
    """A first network, and the digits that it has not seen."""

    def __init__(self, folder: Path, seed: int, epochs: int) -> None:
        from ddnn.pipeline import make_bundle
        from ddnn.training import Config

        self.folder, self.seed = folder, seed
        whole = load("mnist5k", grid="3x2", seed=seed)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(whole.split != "test"))
        self.rest, self.test = whole.take(order[_FIRST:]), whole.subset("test")
        # Its test events are there as a data set has to have some; nothing is chosen by them.
        self.known = replace(mixed(whole.take(order[:_FIRST]), self.test), part=None, parts=())
        config = Config.read(config_file(_CONFIG)).changed(epochs=epochs)
        wishes: dict[str, Any] = {"seed": seed, "tested": False, "golden_events": 16}
        self.first = make_bundle(self.known, config, folder / f"first-{seed}", **wishes)
        self.drifted, _ = worn(self.test, DRIFT, seed)

    def rounds(self, share: str, labels: int, unsure: float, epochs: int) -> list[dict[str, Any]]:
        stream, some = worn(self.rest, DRIFT, self.seed, SHARES[share])
        decisions = decide(record(self.first, stream), self.first.policy)
        confidence = 1 - decisions.uncertainty
        before, found = self._accuracies(self.first), []
        for way in WAYS[share]:
            rows = asked(way, confidence, labels, unsure, self.seed)
            own = labelled(stream, rows, self.folder / "doubts.npz")
            chosen = {
                "seed": self.seed,
                "drifted": share,
                "way": way,
                "labels": len(rows),
                "of_drifted": float(some[rows].mean()),
                "wrong": float((decisions.label[rows] != stream.y[rows]).mean()),
                "before": before,
            }
            learns = own if way.endswith("alone") else mixed(self.known, own)
            found.append({**chosen, "after": self._accuracies(self._learnt(learns, epochs))})
            print(f"seed {self.seed}, {share} drifts, {way}: {found[-1]['after']}", file=sys.stderr, flush=True)
        return found

    def _learnt(self, data: Dataset, epochs: int) -> Bundle:
        """What comes of the first network when it goes on with `data`."""
        from ddnn.pipeline import make_bundle
        from ddnn.training import Config

        config = Config.of(self.first.manifest.training.config).changed(epochs=epochs)
        wishes: dict[str, Any] = {"seed": self.seed, "tested": False, "force": True, "golden_events": 16}
        return make_bundle(data, config, self.folder / "after", initial=self.first, **wishes)

    def _accuracies(self, bundle: Bundle) -> dict[str, float]:
        each = {"drifted": self.drifted, "as it was": self.test}
        return {name: decide(record(bundle, data), bundle.policy).accuracy(data.y) for name, data in each.items()}


def _page(document: Mapping[str, Any]) -> str:
    rows = []
    for share in SHARES:
        for way in WAYS[share]:
            some = [each for each in document["rounds"] if (each["drifted"], each["way"]) == (share, way)]
            before, after = ([each[when]["drifted"] for each in some] for when in ("before", "after"))
            still = [each["after"]["as it was"] for each in some]
            number = f"{np.mean([each['labels'] for each in some]):.0f}"
            drifted, wrong = (
                percent(float(np.mean([each[key] for each in some])), 0) for key in ("of_drifted", "wrong")
            )
            span = f"{percent(float(np.mean(after)))} ({percent(min(after))} to {percent(max(after))})"
            rows.append((share, way, number, drifted, wrong, percent(float(np.mean(before))), span, _mean(still)))
    names = (
        "drifts",
        "labels chosen",
        "labels",
        "of drifted",
        "answered wrong",
        "drifted before",
        "after",
        "as it was",
    )
    asked_for = f"{document['labels']} labels, unsure below {document['unsure']:g}"
    said = f"{document['seeds']} seeds; mean, least and most; {asked_for}."
    return f"{said}\n\n{markdown(names, rows)}\n"


def _mean(values: list[float]) -> str:
    return percent(float(np.mean(values)))


if __name__ == "__main__":
    command(__doc__, study)
