"""What a reader of the links can rebuild of the views: decoders trained on what goes up, and how near they come.

A decoder is given what a link carries of a whole event, of all devices together, as one who reads that link has it. It
learns from training events, stops by validation, and is judged on test events. Legend: N events, D devices, K classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadInput
from ddnn.evaluation import Recorder
from ddnn.evaluation.scores import Progress
from ddnn.types import Array, Floats, Ints, Tier
from ddnn_lab.jpeg import jpeg_views

__all__ = ["Carried", "Rebuilt", "carried", "measure", "psnr", "ssim"]

WIDTH: Final = 512
SIDE: Final = 64  #: pixels; larger images are rebuilt, and compared, reduced to this at most
BATCH: Final = 64
RATE: Final = 2e-3
PATIENCE: Final = 8  #: epochs without a better validation loss
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
    bundle: Bundle, data: Dataset, *, epochs: int = 30, events: int = 10_000, seed: int = 0, progress: Progress
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
    with _one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        flat = [_flat([view[part] for view in truth], here[part]) for part in range(3)]
        classes = len(bundle.manifest.classes)

        def wrong(said: Tensor, label: Tensor) -> Tensor:
            return functional.cross_entropy(said, label, label_smoothing=0.05)

        classifier = _fit(flat[:2], y[:2], wrong, classes, epochs, partial(progress, "classifier of views"))

        def judged(views: Sequence[Floats]) -> dict[str, Any]:
            said = _run(classifier, _flat(views, here[2])).argmax(axis=1)
            found = {"psnr": psnr(true, views, here[2]), "ssim": ssim(true, views, here[2])}
            return {**found, "accuracy": float((said == y[2]).mean())}

        sizes = [math.prod(shape) for shape in shapes]
        places = np.cumsum(sizes)[:-1]
        seen = [np.repeat(part, sizes, axis=1).astype(np.float32) for part in here]
        found, rebuilt = list[dict[str, Any]](), [Rebuilt("views", true)]
        # What an answer tells anyhow: the mean view of the event's class.
        means = [_class_means(view[0], y[0], classes)[y[2]] for view in truth]
        found.append({"link": "the class alone", "bytes": None, **judged(means), "jpeg": None})
        rebuilt.append(Rebuilt("the class alone", means))
        for link in carried(bundle, few, progress):
            parts = np.split(link.values, ends)
            middle, spread = parts[0].mean(axis=0), parts[0].std(axis=0)
            inputs = [(part - middle) / (spread + LEAST) for part in parts]

            def off(said: Tensor, target: Tensor) -> Tensor:
                wanted, there = target.unbind(dim=1)
                return ((said - wanted).square() * there).mean()

            wanted = [np.stack([flat[part], seen[part]], axis=1) for part in (0, 1)]
            decoder = _fit(inputs[:2], wanted, off, flat[0].shape[1], epochs, partial(progress, link.name))
            said = np.split(np.clip(_run(decoder, inputs[2]), 0, 1), places, axis=1)
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
        "epochs": epochs,
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
    few = data.take(np.arange(min(len(data), 200)))

    @cache
    def bytes_at(quality: int) -> float:
        return float(jpeg_views(few, quality).scan_bytes.sum()) / len(few)

    low, high = 1, 95
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bytes_at(middle) <= size else (low, middle - 1)
    sent = jpeg_views(data, low)
    return {"quality": low, "bytes": float(sent.scan_bytes.sum()) / len(data)}, sent.data


def _fit(
    inputs: Sequence[Array],
    targets: Sequence[Array],
    loss: Callable[[Tensor, Tensor], Tensor],
    outputs: int,
    epochs: int,
    progress: Callable[[int, int], None],
) -> nn.Module:
    """A perceptron of two hidden layers, of the epoch that is best on the second of `inputs` and `targets`."""
    (x, held), (y, kept) = (map(torch.from_numpy, arrays) for arrays in (inputs, targets))
    layers = nn.Linear(x.shape[1], WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, outputs)
    network = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best, least, since = {k: v.clone() for k, v in network.state_dict().items()}, float("inf"), 0
    for epoch in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            now = float(loss(network(held), kept))
        progress(epoch + 1, epochs)
        since += 1
        if now < least:
            best, least, since = {k: v.clone() for k, v in network.state_dict().items()}, now, 0
        if since >= PATIENCE:
            break
    progress(epochs, epochs)
    network.load_state_dict(best)
    return network


def _run(network: nn.Module, inputs: Floats) -> Floats:
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(inputs)).numpy())


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
