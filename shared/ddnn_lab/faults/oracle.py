"""What a fleet may say of the golden events, whoever takes part: every exit run offline."""

from collections.abc import Container, Mapping
from typing import Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.evaluation.decide import judge, thresholds
from ddnn.evaluation.scores import Recorder
from ddnn.fleet.events import golden_events
from ddnn.types import Answer, Array, Bools, Exit

__all__ = ["Oracle"]

_TIE: Final = 1e-4
"""How near to its threshold rounding may decide."""
_SAME: Final = 1e-3
"""How far apart probabilities may be that are the same but for the batch they were computed in."""

_Exits = Mapping[Exit, tuple[Array, Array, Array]]


class Oracle:
    """Says what is wrong with an answer, if anything."""

    def __init__(self, bundle: Bundle, *, threshold: float | None = None) -> None:
        """`threshold` is what requests ask for instead of the policy's."""
        self._policy, self._threshold = bundle.policy, threshold
        self._events = len(bundle.golden["y"])
        data = golden_events(bundle)
        self._recorder, alone = Recorder(bundle, data), Recorder(bundle, data, batch=1)
        self._known: dict[bytes, _Exits] = {}
        many, one = (recorder.below["device_features"] for recorder in (self._recorder, alone))
        same = (many == one).all(axis=(1, 2)) & ~bundle.golden["edge_ties"].any(axis=(1, 2))
        self.rows: list[int] = np.flatnonzero(same & data.present.all(axis=1)).tolist()
        """Golden events that every device sees and whose features no rounding decides."""

    def fault(self, row: int, device: int, answer: Answer, reasons: Container[str]) -> str:
        """What is wrong with what `device` was told of golden event `row`; empty when nothing is.

        Right means: the label and probabilities that this exit gives for the devices that took part; and either the
        exit is sure, or the answer is degraded for one of `reasons`.
        """
        if answer.label < 0:
            return f"no label ({answer.degraded_reason})"
        if answer.exit is Exit.DEVICE and answer.devices.nonzero()[0].tolist() != [device]:
            return f"device {device} answered for {answer.devices.nonzero()[0].tolist()}"
        p, u, limits = self._exits(answer.devices)[answer.exit]
        place = (row,) if answer.exit is Exit.CLOUD else (row, device if answer.exit is Exit.DEVICE else 0)
        apart = float(np.abs(p[place] - answer.probabilities).max())
        if apart > _SAME or int(answer.probabilities.argmax()) != answer.label:
            return f"{answer.exit} says {answer.label}, {apart:.2g} away from {int(p[place].argmax())}"
        if answer.degraded:
            return "" if answer.degraded_reason in reasons else f"{answer.exit} degraded for {answer.degraded_reason}"
        if answer.degraded_reason:
            return f"not degraded, for {answer.degraded_reason!r}"
        limit = limits[place] if self._threshold is None else self._threshold
        if answer.exit is not Exit.CLOUD and u[place] >= limit + _TIE:
            return f"{answer.exit} is not sure ({u[place]:.3f}) and says nothing of being degraded"
        return ""

    def _exits(self, present: Bools) -> _Exits:
        key = present.tobytes()
        if key not in self._known:
            scores = self._recorder.scores(np.tile(present, (self._events, 1)))
            self._known[key] = {
                exit: (*judge(scores, self._policy, exit)[:2], thresholds(scores, self._policy, exit))
                for exit in scores.topology.exits
            }
        return self._known[key]
