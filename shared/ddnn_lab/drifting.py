"""A stream of events that drifts, and what audits would have seen of it.

Views fade towards their mean, blur, and devices get lost: nothing until the change, then more and more, then all of it.
Legend: N events of the stream, D devices.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.drift import DriftMonitor, audited_exits, sampled
from ddnn.errors import BadInput
from ddnn.evaluation.decide import NOBODY, decide
from ddnn.evaluation.scores import Progress, Recorder, Scores
from ddnn.policy import Policy
from ddnn.types import Array, Bools, Exit, Floats, Ints

__all__ = ["Drift", "drifting", "replay"]

_STEPS: Final = 20  #: different strengths on the way from nothing to all
_POINTS: Final = 200  #: of the stream, at which the estimates are noted
_BY_RANK: Final = {exit.rank: exit for exit in Exit}


@dataclass(frozen=True, slots=True)
class Drift:
    """What becomes of the views in the end, and when."""

    fade: float = 0.0  #: share of its contrast that a view loses: at 1 only its mean is left
    blur: float = 0.0  #: width (σ) of a Gaussian over the view's elements, in pixels or samples
    lose: int = 0  #: devices that are lost
    begins: float = 0.5  #: share of the stream that comes before
    over: float = 0.2  #: share of the stream in which it grows from nothing to all

    def strength(self, events: int) -> Floats:
        """(N,), 0 before the change to 1."""
        if not (self.fade or self.blur or self.lose):
            return np.zeros(events, np.float32)
        past = (np.arange(events) / max(events, 1) - self.begins) / max(self.over, 1e-9)
        return np.asarray(np.round(np.clip(past, 0, 1) * _STEPS) / _STEPS, dtype=np.float32)


def drifting(data: Dataset, drift: Drift, *, events: int, seed: int) -> tuple[Dataset, Floats]:
    """A stream of so many events of `data`, in random order, and how strongly each has drifted (N,).

    No event comes twice before all have come. Raises `BadInput` when no device would be left.
    """
    if not 0 <= drift.lose < data.devices:
        raise BadInput(f"{drift.lose} devices are to be lost of {data.devices}; expected 0 to {data.devices - 1}")
    rng = np.random.default_rng(seed)
    lost_first = rng.permutation(data.devices)
    rounds = [rng.permutation(len(data)) for _ in range(-(-events // len(data)))]
    stream, strength = data.take(np.concatenate(rounds)[:events]), drift.strength(events)
    views = tuple(np.array(view) for view in stream.views)
    present = stream.present.copy()
    for level in np.unique(strength[strength > 0]):
        rows = np.flatnonzero(strength == level)
        for view in views:
            view[rows] = _worn(view[rows], level * drift.fade, level * drift.blur)
        present[np.ix_(rows, lost_first[: round(level * drift.lose)])] = False
    return replace(stream, views=views, present=present), strength


def _worn(views: Array, fade: float, blur: float) -> Array:
    """Views (n, …) with less contrast and less detail, each around its own mean."""
    inner = tuple(range(1, views.ndim))
    worn = views.astype(np.float32)
    if blur and views.ndim > 2:  # over what has an order: rows and columns, or time
        worn = gaussian_filter(worn, blur, axes=inner[1:], mode="nearest")
    worn += np.float32(fade) * (worn.mean(axis=inner, keepdims=True) - worn)
    return np.clip(np.rint(worn), 0, 255).astype(np.uint8) if views.dtype == np.uint8 else worn.astype(views.dtype)


def replay(
    bundle: Bundle,
    policy: Policy,
    data: Dataset,
    drift: Drift,
    *,
    events: int,
    share: float,
    windows: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What a fleet that audits `share` of its sure answers would have known, and when; the promise is the policy's.

    Every picked answer is audited: no bucket runs dry. Raises `BadInput` where there is nothing to audit or promised.
    """
    promised = policy.promise.disagreement if policy.promise else {}
    exits = [exit for exit in audited_exits(bundle.topology) if exit in promised]
    if not exits:
        raise BadInput(
            "no exit of this network has a promise that audits can test; expected one edge and a tuned policy"
        )
    stream, strength = drifting(data, drift, events=events, seed=seed)
    scores = Recorder(bundle, stream, progress=progress).scores()
    audits = _Audits(policy, exits, scores)
    for event in range(events):
        audits.take(event, picked=sampled(b"%d of stream %d" % (event, seed), share))
        if event % max(events // _POINTS, 1) == 0 or event == events - 1:
            audits.note(event)
        if progress and event % 1000 == 0:
            progress("events", event, events)
    alarm = audits.monitor.alarm
    cuts = np.linspace(0, events, windows + 1).astype(np.int64).tolist()
    return {
        "events": events,
        "drift": {"fade": drift.fade, "blur": drift.blur, "lose": drift.lose, "over": drift.over, "seed": seed},
        "begins": int(np.argmax(strength > 0)) if strength.any() else None,
        "policy": {"version": policy.version, "promised": {exit.value: promised[exit] for exit in exits}},
        "share": share,
        "false_alarm": policy.audits.false_alarm,
        "limit": audits.monitor.limit,
        "alarm": alarm and {"exit": alarm.exit.value, "event": int(alarm.since), "audits": alarm.audits},
        "windows": [
            audits.window(slice(low, high)) | {"strength": float(strength[low:high].mean())}
            for low, high in pairwise(cuts)
        ],
        "points": audits.points,
    }


class _Audits:
    """A drift monitor over a recorded stream, and the truth beside it."""

    def __init__(self, policy: Policy, exits: list[Exit], scores: Scores) -> None:
        self._now = 0
        self.monitor = DriftMonitor(policy, exits=exits, clock=lambda: float(self._now))
        self.points: list[dict[str, Any]] = []
        """What is known after some of the events, for the plot."""
        self._exits, self._decisions, self._y = exits, decide(scores, policy), scores.y
        self._cloud: Ints = scores.cloud.argmax(axis=1)
        self._differs: Bools = self._decisions.label != self._cloud
        self._audited = np.zeros(len(scores), np.bool_)

    def take(self, event: int, *, picked: bool) -> None:
        """One event more; it is audited if it is picked and an exit that audits test answered it."""
        self._now, rank = event, int(self._decisions.exit[event])
        if rank == NOBODY:
            return
        exit = _BY_RANK[rank]
        self.monitor.answered(exit, 1 - float(self._decisions.uncertainty[event]))
        if picked and exit in self._exits:
            self._audited[event] = True
            self.monitor.audited(exit, same=not self._differs[event])

    def note(self, event: int) -> None:
        """Keep what is known after this event."""
        monitor, known = self.monitor, dict[str, dict[str, Any]]()
        for exit in self._exits:
            evidence = {"e_value": monitor.evidence(exit), "distance": monitor.distance(exit)}
            known[exit.value] = {**monitor.disagreement(exit).document(), **evidence}
        self.points.append({"event": event + 1, "exits": known})

    def window(self, rows: slice) -> dict[str, Any]:
        """The truth in some events, and what was known after the last of them."""
        known = next(point for point in self.points if point["event"] >= rows.stop)["exits"]
        exits = {}
        for exit in self._exits:
            answered = self._decisions.exit[rows] == exit.rank
            differs = self._differs[rows][answered]
            exits[exit.value] = {
                "answered": float(answered.mean()),
                "audited": int(self._audited[rows][answered].sum()),
                "truth": float(differs.mean()) if len(differs) else None,
                "estimate": known[exit.value],
            }
        labels = {"accuracy": self._decisions.label, "cloud_accuracy": self._cloud}
        right = {name: float((label[rows] == self._y[rows]).mean()) for name, label in labels.items()}
        return {"events": [rows.start, rows.stop], **right, "exits": exits}
