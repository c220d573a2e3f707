"""What a reader of the links can rebuild of the views: decoders trained on what goes up, and how near they come.

A decoder is given what a link carries of a whole event, of all devices together, as one who reads that link has it. It
learns from training events, chooses by validation, and is judged on test events.
Legend: N events, D devices, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadInput
from ddnn.evaluation import Recorder
from ddnn.evaluation.scores import Progress
from ddnn.types import Array, Floats, Ints, Tier
from ddnn_lab.jpeg import jpeg_views

__all__ = ["Carried", "Rebuilt", "carried", "measure", "psnr", "ssim"]

SIDE: Final = 64  #: pixels; larger images are rebuilt, and compared, reduced to this at most
WIDTHS: Final = (0.1, 0.3, 1.0)  #: of the kernel, squared, over the median squared distance of events
RIDGES: Final = (1e-2, 1e-1, 1.0)
TRIED_ON: Final = 1000  #: training events that width and ridge are chosen with
LEAST: Final = 1e-3


@dataclass(frozen=True)
class Carried:
    """What one link carries of each event."""

    name: str
    values: Floats  #: (N, n), as they are once unpacked
    bytes: float  #: of an event's tensors on the wire


@dataclass(frozen=True)
class Rebuilt:
    """What a decoder made of the test events, beside the truth: views as numbers in 0..1, (N, *shape) a device."""

    name: str
    views: Sequence[Floats]


def carried(bundle: Bundle, data: Dataset, progress: Progress | None = None) -> list[Carried]:
    """What the links of a fleet carry of `data`, were every event sent up to the cloud.

    Raise `BadInput` for a network whose devices send their views.
    """
    topology, recorder = bundle.topology, Recorder(bundle, data, progress=progress)
    made, found, classes = recorder.everything(), list[Carried](), len(bundle.manifest.classes)
    sent = [*topology.sent(Tier.DEVICE), *topology.sent(Tier.DEVICE, "asked")]
    if any(given.what == "view" for given in sent):
        raise BadInput(f"bundle {bundle.manifest.name}: its devices send their views; there is nothing to rebuild")
    devices = range(len(topology.devices))
    for given in sent:
        features, here = topology.features(Tier.DEVICE), data.present[..., None]
        rows = made[f"device_{given.what}"]
        if given.what == "features" and features:
            rows, codec = features.coded.unpack(rows, features.shape), f"features, {given.codec}"
        else:
            codec = f"scores, {given.codec}"
        size = sum(topology.bytes(given, device, classes) for device in devices)
        values = (rows.reshape(*data.present.shape, -1) * here).reshape(len(data), -1).astype(np.float32)
        found.append(Carried(f"device → edge: {codec}", values, size))
    if len(found) > 1:
        both = np.concatenate([each.values for each in found], axis=1)
        found.append(Carried("device → edge: both", both, sum(each.bytes for each in found)))
    if features := topology.features(Tier.EDGE):
        rows = features.coded.unpack(made["edge_features"], features.shape).reshape(len(data), -1)
        size = features.bytes * len(topology.edges)
        found.append(Carried(f"edge → cloud: features, {features.codec}", rows.astype(np.float32), size))
    return found


def measure(
    bundle: Bundle, data: Dataset, *, events: int = 5000, seed: int = 0, progress: Progress
) -> tuple[dict[str, Any], list[Rebuilt]]:
    """What each link tells of the views of `data`, as a document, and what was rebuilt of the test events.

    `events`: most training events, the first of a random order; validation and test have a third of it at most.
    """
    random, splits = np.random.default_rng(seed), ("train", "validation", "test")
    most = dict(zip(splits, (events, events // 3, events // 3), strict=True))
    rows = {name: random.permutation(np.flatnonzero(data.split == name))[: most[name]] for name in splits}
    if short := [name for name in splits if not len(rows[name])]:
        raise BadInput(f"{data.name} has no {short[0]} events; expected some in each split")
    few = data.take(np.concatenate(list(rows.values())))
    ends = np.cumsum([len(rows[name]) for name in splits])[:-1]
    scale = _Scale.of(few.views, ends[0])
    truth = [np.split(view, ends) for view in scale.numbers(few.views)]
    here, y, test = np.split(few.present, ends), np.split(few.y, ends), data.take(rows["test"])
    true = [view[2] for view in truth]
    shapes = [view.shape[1:] for view in true]
    with threadpool_limits(1):
        flat = [_flat([view[part] for view in truth], here[part]) for part in range(3)]
        classes = len(bundle.manifest.classes)
        progress("classifier of views", 0, 1)
        classifier = _Ridge(flat[:2], [np.eye(classes, dtype=np.float32)[part] for part in y[:2]])
        progress("classifier of views", 1, 1)

        def judged(views: Sequence[Floats]) -> dict[str, Any]:
            said = classifier(_flat(views, here[2])).argmax(axis=1)
            found = {"psnr": psnr(true, views, here[2]), "ssim": ssim(true, views, here[2])}
            return {**found, "accuracy": float((said == y[2]).mean())}

        sizes = [math.prod(shape) for shape in shapes]
        places = np.cumsum(sizes)[:-1]
        found, rebuilt = list[dict[str, Any]](), [Rebuilt("views", true)]
        # What an answer tells anyhow: the mean view of the event's class.
        means = [_class_means(view[0], y[0], classes)[y[2]] for view in truth]
        found.append({"link": "the class alone", "bytes": None, **judged(means), "jpeg": None})
        rebuilt.append(Rebuilt("the class alone", means))
        links = carried(bundle, few, progress)
        for done, link in enumerate(links, 1):
            parts = np.split(link.values, ends)
            middle, spread = parts[0].mean(axis=0), parts[0].std(axis=0)
            inputs = [(part - middle) / (spread + LEAST) for part in parts]
            decoder = _Ridge(inputs[:2], flat[:2])
            progress("decoders", done, len(links))
            said = np.split(np.clip(decoder(inputs[2]), 0, 1), places, axis=1)
            views = [view.reshape(-1, *shape) for view, shape in zip(said, shapes, strict=True)]
            rebuilt.append(Rebuilt(link.name, views))
            jpeg = _jpeg_of_size(test, link.bytes)
            beside = jpeg and {**jpeg[0], **judged(scale.numbers(jpeg[1].views))}
            found.append({"link": link.name, "bytes": link.bytes, **judged(views), "jpeg": beside})
        own = judged(true)["accuracy"]
    return {
        "bundle": bundle.manifest.name,
        "fingerprint": bundle.fingerprint,
        "data": data.name,
        "events": {name: len(rows[name]) for name in splits},
        "views": [list(view.shape[1:]) for view in data.views],
        "rebuilt_as": [list(shape) for shape in shapes],
        "seed": seed,
        "accuracy_of_true_views": own,
        "links": found,
    }, rebuilt


def psnr(true: Sequence[Floats], views: Sequence[Floats], here: Array) -> float | None:
    """Peak signal-to-noise ratio in dB, of the squared error over all views (N, *shape) in 0..1 of who is `here`.

    None where there is no error.
    """
    total = sum(float(np.square(a[on] - b[on]).sum()) for a, b, on in zip(true, views, here.T, strict=True))
    count = sum(a[on].size for a, on in zip(true, here.T, strict=True))
    return -10 * float(np.log10(total / count)) if total else None


def ssim(true: Sequence[Floats], views: Sequence[Floats], here: Array) -> float | None:
    """Mean structural similarity of images (N, C, H, W) in 0..1, by a Gaussian of 1.5 pixels (Wang et al. 2004).

    None of what is no image.
    """
    if any(view.ndim != 4 for view in true):
        return None
    found = [_ssim(a[on], b[on]) for a, b, on in zip(true, views, here.T, strict=True) if on.any()]
    return float(np.concatenate(found).mean())


def _ssim(a: Floats, b: Floats) -> Floats:
    def mean(x: Floats) -> Floats:
        return np.asarray(gaussian_filter(x, (0, 0, 1.5, 1.5), truncate=3.5))

    a, b = a.astype(np.float64), b.astype(np.float64)
    of_a, of_b, first, second = mean(a), mean(b), 0.01**2, 0.03**2
    spread_a, spread_b, joint = mean(a * a) - of_a**2, mean(b * b) - of_b**2, mean(a * b) - of_a * of_b
    top = (2 * of_a * of_b + first) * (2 * joint + second)
    return np.asarray((top / ((of_a**2 + of_b**2 + first) * (spread_a + spread_b + second))).mean(axis=(1, 2, 3)))


@dataclass(frozen=True)
class _Scale:
    """How views become numbers in 0..1: bytes by 255, others by the range that training events have."""

    ranges: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, views: Sequence[Array], train: int) -> "_Scale":
        return cls([(0.0, 255.0) if v.dtype == np.uint8 else _range(v[:train]) for v in views])

    def numbers(self, views: Sequence[Array]) -> list[Floats]:
        """(N, *shape), large images reduced; what is missing is the middle."""
        numbers = [
            (v.astype(np.float32) - low) / (high - low) for v, (low, high) in zip(views, self.ranges, strict=True)
        ]
        return [_reduced(np.clip(np.nan_to_num(v, nan=0.5), 0, 1)) for v in numbers]


def _range(view: Array) -> tuple[float, float]:
    known = view[np.isfinite(view)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return low, high if high > low else low + 1


def _reduced(views: Floats) -> Floats:
    """Images (N, C, H, W) by the mean over squares, until no side is over `SIDE`; others as they are."""
    if views.ndim != 4 or (by := -(-max(views.shape[2:]) // SIDE)) == 1:
        return views
    height, width = (max(size // by, 1) * by for size in views.shape[2:])
    cut = views[:, :, :height, :width]
    return np.asarray(cut.reshape(*cut.shape[:2], height // by, by, width // by, by).mean(axis=(3, 5)))


def _flat(views: Sequence[Floats], here: Array) -> Floats:
    """(N, pixels) of all devices, 0 of who is absent."""
    parts = [view.reshape(len(view), -1) * on[:, None] for view, on in zip(views, here.T, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _class_means(view: Floats, y: Ints, classes: int) -> Floats:
    whole = view.mean(axis=0)
    return np.stack([view[y == label].mean(axis=0) if (y == label).any() else whole for label in range(classes)])


def _jpeg_of_size(data: Dataset, size: float) -> tuple[dict[str, Any], Dataset] | None:
    """The test views through JPEG of the best quality with no more coded bytes an event, or of the least there is."""
    if any(view.dtype != np.uint8 or view.ndim != 4 or view.shape[1] not in (1, 3) for view in data.views):
        return None
    few = data.take(np.arange(min(len(data), 100)))

    @cache
    def bytes_at(quality: int) -> float:
        return float(jpeg_views(few, quality).scan_bytes.sum()) / len(few)

    low, high = 1, 95
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bytes_at(middle) <= size else (low, middle - 1)
    sent = jpeg_views(data, low)
    return {"quality": low, "bytes": float(sent.scan_bytes.sum()) / len(data)}, sent.data


class _Ridge:
    """Kernel ridge regression by a Gaussian kernel, its width and ridge chosen on validation events.

    It looks at all training events, has no chance in it, and of a few thousand events is as good as small networks.
    """

    def __init__(self, inputs: Sequence[Floats], targets: Sequence[Floats]) -> None:
        """`inputs` and `targets` of training and validation events, (N, n) each."""
        (x, held), (y, kept) = inputs, targets
        few, held, kept = x[:TRIED_ON], held[:TRIED_ON], kept[:TRIED_ON]
        near, far = _distances(few, few), _distances(held, few)
        usual, self._mean = float(np.median(near)) or 1.0, y.mean(axis=0)
        errors = {}
        for width in WIDTHS:
            here, there = (np.exp(-distances / (width * usual)) for distances in (near, far))
            for ridge in RIDGES:
                weights = _solved(here, y[:TRIED_ON] - self._mean, ridge)
                errors[width, ridge] = float(np.square(there @ weights + self._mean - kept).mean())
        best = min(errors, key=errors.__getitem__)
        self._scale, self._events = best[0] * usual, x
        self._weights = _solved(np.exp(-_distances(x, x) / self._scale), y - self._mean, best[1])

    def __call__(self, inputs: Floats) -> Floats:
        """(N, outputs)."""
        return np.asarray(np.exp(-_distances(inputs, self._events) / self._scale) @ self._weights + self._mean)


def _distances(a: Floats, b: Floats) -> Floats:
    """(N, M) squared, of rows."""
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0), np.float32)


def _solved(kernel: Floats, targets: Floats, ridge: float) -> Floats:
    kernel = kernel + ridge * np.eye(len(kernel), dtype=np.float32)
    return np.asarray(cho_solve(cho_factor(kernel, overwrite_a=True), targets), np.float32)
