"""A device: one view in, the answer out, from its own exit or from above; without a section, always from above."""

import asyncio
from collections.abc import Sequence

import httpx
import numpy as np

from ddnn.bundle import Bundle
from ddnn.errors import DDNNError, DeadlineExceeded, Unavailable
from ddnn.serving.base import Service
from ddnn.serving.case import Case, Terms, show_stages
from ddnn.serving.engine import Step
from ddnn.serving.ledger import Ledger
from ddnn.serving.tensors import TensorSpec
from ddnn.serving.way_up import ToEdge
from ddnn.settings import Settings
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.wire import InferRequest, Parameters

__all__ = ["DeviceService"]

_NAMES = ("view", "event")


class DeviceService(Service):
    """Runs the section on views; unsure events go to the edge, all of them raw where there is no section."""

    tier = Tier.DEVICE

    def __init__(self, bundle: Bundle, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(bundle, settings, transport)
        topology = bundle.topology
        self._view = topology.devices[settings.index].view
        self._alone = np.arange(self.devices) == settings.index
        if self.uplink:
            self.way_up = ToEdge(
                self.uplink,
                self.metrics,
                carries="view" if topology.raw else "features",
                classes=self.classes,
                devices=self.devices,
                background=settings.max_background,
                device=settings.index,
                alone=self.devices == 1,
            )
        steps = [Step(Exit.DEVICE, section, needs="view") for section in self.sections.values()]
        if steps and self.devices == 1:  # of several, the edge hears of every decision
            self.ledger = Ledger(settings.ledger_events, devices=0, classes=self.classes)
        above = Exit.CLOUD if topology.raw else Exit.LOCAL
        if self.devices == 1:
            self.audits = self.make_audits()
        self.engine = self.make_engine(steps, above=above)
        view = TensorSpec("view", self._view.dtype, (-1, *self._view.shape))
        self._inputs = (view, TensorSpec("event", "BYTES", (-1,), optional=True))

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """One view an event, and whose event it is."""
        return self._inputs

    def example(self) -> tuple[dict[str, Array], Parameters]:
        """The first golden event's view."""
        return {"view": self.bundle.golden[f"view_{self.settings.index}"][:1]}, {}

    async def infer(self, request: InferRequest, terms: Terms) -> list[Answer]:
        """Answer views [B, …]."""
        self.refuse_when_draining()
        request.refuse_unknown(_NAMES)
        rows = self.rows(request, "view")
        views = request.take("view", self._view.dtype, (rows, *self._view.shape))
        events = self.events(request, rows)
        loop = asyncio.get_running_loop()
        policy = self.policy
        nothing = self.no_answer(policy)
        cases = [
            Case(event, policy, terms, {"view": view}, self._alone, nothing, loop.create_future())
            for event, view in zip(events, views, strict=True)
        ]
        await self.engine.advance(cases)
        answers = [case.outcome.result() for case in cases]
        for case, answer in zip(cases, answers, strict=True):
            self.settled(case, answer)
        show_stages(terms, cases)
        if not any(answer.label >= 0 for answer in answers):  # there is no exit here to fall back on
            raise _nobody(answers[0].degraded_reason)
        return answers


def _nobody(reason: str) -> DDNNError:
    kind = DeadlineExceeded if reason in ("deadline", "timeout") else Unavailable
    return kind(f"no tier above answered ({reason}), and this network has no exit below the cloud")
