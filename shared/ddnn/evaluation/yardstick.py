"""The best simple classifier on the same events, which a network should not be worse than.

All devices' raw views side by side, with presence flags, are learnt by logistic regression, a random forest and
histogram boosting; each device's view alone by the first two. They learn from training events, the best is the one
that is right most often on validation. Legend: N events, D devices, F elements of all views together, K classes.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.data.summary import Standard
from ddnn.errors import BadData, BadInput
from ddnn.evaluation.classes import figures
from ddnn.evaluation.scores import Progress
from ddnn.evaluation.source import split_note
from ddnn.extensions import needed_for
from ddnn.formatting import percent
from ddnn.types import Array, Exit

__all__ = ["MARGIN", "best_alone", "kept_yardstick", "named", "shortfall", "yardstick"]

MARGIN: Final = 0.005  #: how far overall accuracy may lie below the best simple classifier's without a word
EVENTS: Final = 5000  #: training events that all devices' views are learnt from, at most
ELEMENTS: Final = 1024  #: elements of all views together, at most
ALONE_EVENTS: Final = 2000  #: the same for one device's view
ALONE_ELEMENTS: Final = 256
TREES: Final = 600  #: trees that boosting grows at most, one a class and round
STEPS: Final = 200  #: of logistic regression's solver; fewer with more than a hundred classes
CHUNK: Final = 4096  #: events answered at a time, so that memory stays bounded however many there are


def yardstick(data: Dataset, *, split: str = "test", seed: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """Fit simple classifiers on the training events of `data`; accuracies on validation and `split` are in 0..1.

    Large data are thinned out evenly, to `events` and `elements`, so that it takes seconds to a minute on one thread.
    An event counts with its class, whichever devices see it. Raises `BadInput` without scikit-learn or where `split`
    is the training's, `BadData` where training has one class only, or a split no events.

    Example:
        >>> from ddnn.data import load
        >>> from ddnn.evaluation.yardstick import yardstick
        >>> found = yardstick(load("synthetic"))
        >>> list(found)
        ['events', 'elements', 'all', 'alone', 'best']
        >>> found["best"]["classifier"] in found["all"], list(found["best"]["test"])
        (True, ['accuracy', 'balanced_accuracy'])
    """
    if split == "train":
        raise BadInput("the yardstick learns from the events of train; expected to be asked about validation or test")
    with needed_for("the yardstick"):
        import sklearn.ensemble  # noqa: F401
        from threadpoolctl import threadpool_limits

    train = data.subset("train")
    if len(np.unique(train.y)) < 2:
        raise BadData(f"all training events of {data.name} have class {data.classes[train.y[0]]}; expected two classes")
    parts = {name: data.subset(name) for name in dict.fromkeys(("validation", split))}
    devices = range(data.devices if data.devices > 1 else 0)
    alone = list[dict[str, Any]]()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a solver that stops before it has converged is simple, too
        few = _thinned(train, EVENTS)
        together = _judged(few, parts, ELEMENTS, seed, boosting=True)
        if progress:
            progress("simple classifiers", 1, 1 + len(devices))
        fewer = _thinned(train, ALONE_EVENTS)
        for device in devices:
            own = {name: part.of_devices([device]) for name, part in parts.items()}
            tried = _judged(fewer.of_devices([device]), own, ALONE_ELEMENTS, seed, boosting=False)
            alone.append(_best({"classifier": name, "device": device, **told} for name, told in tried.items()))
            if progress:
                progress("simple classifiers", 2 + device, 1 + len(devices))
    entries = [{"classifier": name, "device": None, **told} for name, told in together.items()]
    elements = sum(int(np.prod(view.shape[1:])) for view in data.views)
    return {
        "events": len(few),
        "elements": min(elements, ELEMENTS),
        "all": together,
        "alone": alone,
        "best": _best([*entries, *alone]),
    }


def _judged(
    train: Dataset, parts: Mapping[str, Dataset], elements: int, seed: int, *, boosting: bool
) -> dict[str, dict[str, Any]]:
    """By classifier, by part, the figures of classifiers that learnt from all events of `train`."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = len(train.classes)
    steps = min(STEPS, max(100 * STEPS // classes, 20))
    growing = {"max_leaf_nodes": 15, "max_features": 0.3, "early_stopping": False, "random_state": seed}
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=steps))  # a scale for each element of a view
    models: dict[str, Any] = {"logistic regression": linear}
    models["random forest"] = RandomForestClassifier(100 if boosting else 50, random_state=seed)
    if boosting and classes <= TREES // 10:
        models["boosting"] = HistGradientBoostingClassifier(max_iter=TREES // max(classes, 6), **growing)
    made: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        # trees are as good on values far out as on others
        standard = Standard(train, elements=elements, clipped=model is linear)
        model.fit(_numbers(standard, train), train.y)
        made[name] = {}
        for part, data in parts.items():
            starts = range(0, len(data), CHUNK)
            labels = np.concatenate([model.predict(_numbers(standard, data, start)) for start in starts])
            of_classes = figures(labels, data.y, classes)["balanced_accuracy"]
            made[name][part] = {"accuracy": float((labels == data.y).mean()), "balanced_accuracy": of_classes}
    return made


def _numbers(standard: Standard, data: Dataset, start: int | None = None) -> Array:
    """(N, F + D) elements, of which what is missing is the mean, and presence; of all events, or `CHUNK` of them."""
    rows = standard(data, slice(None) if start is None else slice(start, start + CHUNK))
    return np.concatenate([rows.values, rows.seen], axis=1)


def _thinned(data: Dataset, most: int) -> Dataset:
    """At most `most` events, of every class as large a share."""
    by_class = np.argsort(data.y, kind="stable")
    return data.take(np.sort(by_class[np.unique(np.linspace(0, len(data) - 1, min(len(data), most)).astype(int))]))


def _best(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The one that is right most often on validation; the first of equals: all devices before one, linear first."""
    return max(entries, key=lambda entry: float(entry["validation"]["accuracy"]))


def best_alone(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best entry of one device; None where there is but one device."""
    return _best(found["alone"]) if found["alone"] else None


def kept_yardstick(bundle: Bundle, data: Dataset, split: str) -> dict[str, Any] | None:
    """What was found when `bundle` was made, where `data` are its own events, divided alike, and `split` was judged."""
    training = bundle.manifest.training
    own = training.data.get("fingerprint") == data.fingerprint and split_note(bundle, data) is None
    found: dict[str, Any] | None = training.test.get("yardstick") if own else None
    return found if found and split in found["best"] else None


def named(entry: Mapping[str, Any]) -> str:
    """`boosting, all devices` or `random forest, device 3 alone`."""
    return f"{entry['classifier']}, " + (
        "all devices" if entry["device"] is None else f"device {entry['device']} alone"
    )


def shortfall(document: Mapping[str, Any], recipe: Mapping[str, Any] | None) -> str | None:
    """What to do where an evaluation's overall accuracy is more than `MARGIN` below its yardstick's; else None.

    `recipe` is `training.data.recipe` of the manifest.
    """
    best, overall, split = document["yardstick"]["best"], document["overall"]["accuracy"], document["split"]
    simple = best[split]["accuracy"]
    if overall >= simple - MARGIN:
        return None
    exits = {
        exit: figures["accuracy"] for exit, figures in document["exits"].items() if figures and exit != Exit.DEVICE
    }
    most = max(exits, key=lambda exit: exits[exit] or 0.0)
    if (exits[most] or 0.0) >= simple - MARGIN:
        advice = f"the {most} exit alone has {percent(exits[most])}: tune with a smaller --max-accuracy-drop"
    elif recipe is None:
        advice = "train without --config and --epochs, so that a recipe is looked for"
    elif recipe["left"]:
        advice = f"train with more --minutes, as there was no time to try {', '.join(recipe['left'])}"
    else:
        advice = "every recipe there is was tried: bring more training events, or a --config of your own"
    return (
        f"worse than a simple classifier: {percent(overall)} of the {split} events are right overall,"
        f" {percent(simple)} with {named(best)}; {advice}"
    )
