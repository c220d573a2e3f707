"""Devices that are set aside at their edge, as they contradict the others: their events are joined without them."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddnn.drift import Bucket, OutlierMonitor
from ddnn.policy import Outliers, Policy
from ddnn.serving.control import PolicyControl
from ddnn.serving.event import Contribution, Event
from ddnn.serving.metrics import Metrics
from ddnn.trail import Trail
from ddnn.types import Array

__all__ = ["SetAside"]

_log = logging.getLogger("ddnn")


class SetAside:
    """Watches what the devices of one edge say of the same events, under the policy in force.

    What a device that is set aside sends is taken and answered, and looked at; it is in no fusion, and is not asked for
    more. A restart, and a policy that promises otherwise, begin anew.
    """

    def __init__(self, control: PolicyControl, devices: Sequence[int], metrics: Metrics, trail: Trail) -> None:
        """`devices` by their number among the edge's children."""
        self._control, self._devices, self._metrics, self._trail = control, tuple(devices), metrics, trail
        self._policy: Policy | None = None
        self._known: tuple[Outliers, Array] | None = None
        self._monitor: OutlierMonitor | None = None
        self._bucket = Bucket(1.0, 1, time.monotonic)
        self._follow()

    def leave_out(self, event: Event) -> None:
        """Take the contributions of devices that are set aside out of an event that is complete."""
        self._follow()
        if self._monitor:
            for child in self._monitor.aside.keys() & event.contributions.keys():
                event.aside[child] = event.contributions.pop(child)
                event.featured.pop(child, None)

    def note(self, event: Event) -> None:
        """Hold against each other what devices said of an answered event."""
        self._follow()
        parts = {child: part for child, part in (event.contributions | event.aside).items() if "scores" in part.inputs}
        if self._monitor is None or len(parts) < 2 or not self._bucket.take():
            return
        out, back = self._monitor.note(*_joined(parts, len(self._devices)))
        for child in back:
            self._tell(child, "agrees with the others again, and is heard")
        if out is not None:
            self._tell(out, "contradicts the others more often than the policy promised, and is set aside")

    def document(self) -> dict[str, Any]:
        """Who is set aside since when, in Unix time, and how much each device agrees; 1 is as promised, or better."""
        self._follow()
        if self._monitor is None:
            return {"aside": {}, "agreement": {}}
        aside = {str(self._devices[child]): since for child, since in self._monitor.since().items()}
        agreement = zip(map(str, self._devices), self._monitor.agreement.round(4).tolist(), strict=True)
        return {"aside": aside, "agreement": dict(agreement)}

    def _follow(self) -> None:
        if self._control.policy is self._policy:
            return
        self._policy = policy = self._control.policy
        dissent = policy.promise.dissent if policy.promise else ()
        promised = np.array(dissent)[list(self._devices)] if dissent else np.empty((0, 0))
        before, self._known = self._known, (policy.outliers, promised)
        if before and before[0] == policy.outliers and np.array_equal(before[1], promised):
            return
        for device in self._devices:
            self._metrics.aside.labels(str(device)).set(0)
        asked = policy.outliers
        self._bucket = Bucket(asked.per_second, max(1, int(asked.per_second)), time.monotonic)
        self._monitor = None
        if len(promised) and asked.keep:
            self._monitor = OutlierMonitor(promised, keep=asked.keep, false_alarm=asked.false_alarm, clock=time.time)

    def _tell(self, child: int, what: str) -> None:
        assert self._monitor is not None
        device, aside = self._devices[child], child in self._monitor.aside
        self._metrics.aside.labels(str(device)).set(aside)
        _log.warning("device %d %s", device, what)
        self._trail.note("device set aside" if aside else "device heard again", "system", device=device)


def _joined(parts: dict[int, Contribution], count: int) -> tuple[Array, Array]:
    """Scores (D, K) and who is here (D), zeros for those that are not."""
    scores = np.zeros((count, *next(iter(parts.values())).inputs["scores"].shape[1:]), np.float32)
    here = np.zeros(count, np.bool_)
    for child, part in parts.items():
        scores[child], here[child] = part.inputs["scores"][0], True
    return scores, here
