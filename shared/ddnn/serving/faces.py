"""What the middleware needs of a service to take a request for it; of one bundle, or of two while one is rolled out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import Counter

from ddnn.serving.admission import Admission
from ddnn.serving.request import RequestOptions
from ddnn.serving.service import Service
from ddnn.types import Answer, Exit
from ddnn.wire import InferRequest, Limits

__all__ = ["Face", "Faces"]

_BUNDLE: Final = b"x-ddnn-bundle"


class Face:
    """One service as the middleware sees it."""

    def __init__(self, service: Service) -> None:
        self.service, settings = service, service.settings
        self.admission = Admission(settings, service.metrics, room=service.room, queues=service.queues, lag=service.lag)
        self.outputs = tuple(spec.name for spec in service.outputs)
        self.bundle, exits = service.bundle.fingerprint, service.bundle.topology.exits
        self.exits = {exit.value: exit for exit in Exit if exit.rank >= exits[0].rank}
        self.limits = Limits.of(
            [(spec.datatype, spec.largest) for spec in service.inputs],
            rows=settings.max_batch,
            cap=settings.max_body_bytes,
            files=service.takes_pictures,
        )
        self.seconds = service.metrics.request_seconds.labels()
        self._requests, self._counted = service.metrics.requests, dict[int, Counter]()

    def count(self, status: int) -> None:
        """A request was answered so."""
        if status not in self._counted:
            self._counted[status] = self._requests.labels(str(status))
        self._counted[status].inc()


class Faces:
    """The first is whose bundle callers get; the other is there for requests that name its bundle."""

    def __init__(self, service: Service) -> None:
        self.first = Face(service)
        self.other: Face | None = None
        self.ask: Callable[[InferRequest, RequestOptions], Awaitable[list[Answer]]] | None = None
        """Answers requests that name no bundle, instead of the first's service."""

    @property
    def all(self) -> tuple[Face, ...]:
        return (self.first, self.other) if self.other else (self.first,)

    def of(self, headers: Mapping[bytes, bytes]) -> Face:
        """Whom a request is for."""
        if self.other is None or headers.get(_BUNDLE) != self.other.bundle.encode():
            return self.first
        return self.other

    async def infer(self, face: Face, request: InferRequest, options: RequestOptions) -> list[Answer]:
        """Answer it."""
        if self.ask and face is self.first:
            return await self.ask(request, options)
        return await face.service.infer(request, options)
