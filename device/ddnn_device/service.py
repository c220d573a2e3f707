"""A device: one view in, the answer out, from its own exit or from above; without a section, always from above."""

import numpy as np

from ddnn.errors import DDNNError, DeadlineExceeded, Unavailable
from ddnn.serving.engine import Engine
from ddnn.serving.event import Event
from ddnn.serving.request import RequestOptions, TensorSpec, row_ids
from ddnn.serving.service import Parts, Service
from ddnn.types import Answer
from ddnn.wire import InferRequest

__all__ = ["DeviceService"]

_NAMES = frozenset({"view", "event"})


class DeviceService(Service):
    """Runs the section on views; unsure events go to the edge, all of them raw where there is no section."""

    def __init__(self, parts: Parts, engine: Engine) -> None:
        index, self._view = parts.settings.index, parts.bundle.topology.devices[parts.settings.index].view
        self._alone = np.arange(parts.devices) == index
        inputs = [
            TensorSpec("view", self._view.dtype, (-1, *self._view.shape)),
            TensorSpec("event", "BYTES", (-1,), optional=True),
        ]
        example = {"view": parts.bundle.golden[f"view_{index}"][:1]}
        super().__init__(parts, engine, inputs, (example, {}))

    async def infer(self, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Answer views [B, …]."""
        if not request.inputs.keys() <= _NAMES:
            request.refuse_unknown(sorted(_NAMES, reverse=True))
        ids = row_ids(request, "view", self.settings.max_batch)
        rows = len(ids)
        views = request.take("view", self._view.dtype, (rows, *self._view.shape))
        rule, nothing = self.control.rule, self.control.nothing
        events = [
            Event(id, rule, options, {"view": view}, self._alone, nothing, self.engine)
            for id, view in zip(ids, views, strict=True)
        ]
        answers = await self.engine.answer(events, options)
        if not any(answer.label >= 0 for answer in answers):  # there is no exit here to fall back on
            raise _no_answer(answers[0].degraded_reason)
        return answers


def _no_answer(reason: str) -> DDNNError:
    kind = DeadlineExceeded if reason in ("deadline", "timeout") else Unavailable
    return kind(f"no tier above answered ({reason}), and this network has no exit below the cloud")
