"""Traces by OpenTelemetry: an event is one trace over all tiers; nothing is imported where none are wanted.

A request is a span of its tier, what its event went through are spans below it: `collect` is the wait for others,
`local section` and the like a section, `uplink` the tier above. Devices of one event agree on its trace, and on
whether it is one of the share that is traced, by its id; a caller that sends a `traceparent` decides both.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from ddnn.drift import sampled
from ddnn.errors import BadConfig
from ddnn.serving.request import RequestOptions
from ddnn.settings import Settings
from ddnn.types import Answer, Exit, Tier
from ddnn.wire import InferRequest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

__all__ = ["Traces"]

_PARENT: Final = re.compile(b"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_EXITS: Final = frozenset(exit.value for exit in Exit)
_QUEUE: Final = 2048
_EVERY_MS: Final = 5000


class Traces:
    """What one tier traces: spans are sent in the background, and dropped where the collector does not keep up."""

    def __init__(self, settings: Settings, tier: Tier, name: str) -> None:
        """Raises `BadConfig` without the extra `traces`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        except ImportError as error:
            raise BadConfig("DDNN_TRACES needs OpenTelemetry: pip install 'ddnn[traces]'") from error

        class Ids(RandomIdGenerator):
            """Trace ids that are set from outside."""

            next: int | None = None

            def generate_trace_id(self) -> int:
                given, self.next = self.next, None
                return given or int(super().generate_trace_id())

        assert settings.traces is not None
        self._ids, self._tier, self._share = Ids(), tier, settings.traces_share
        resource = Resource.create({"service.name": f"ddnn-{tier}", "service.instance.id": f"{tier}-{settings.index}"})
        provider = TracerProvider(resource=resource, id_generator=self._ids)
        exporter = OTLPSpanExporter(endpoint=settings.traces, timeout=5)
        provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=_QUEUE, schedule_delay_millis=_EVERY_MS)
        )
        self._tracer = provider.get_tracer("ddnn", name)

    @classmethod
    def of(cls, settings: Settings, tier: Tier, version: str) -> "Traces | None":
        """As the settings have it; None where nothing is traced."""
        return cls(settings, tier, version) if settings.traces else None

    def picks(self, options: RequestOptions, request: InferRequest) -> bool:
        """Whether a request is among those that are traced; if not, it is in no tier above either."""
        given = _PARENT.fullmatch(options.traceparent) if options.traceparent else None
        return bool(int(given[3], 16) & 1) if given else sampled(_first(request), self._share)

    @contextmanager
    def request(self, options: RequestOptions, request: InferRequest, began: float) -> Iterator[list[Answer]]:
        """Trace a request since `began`, by `time.perf_counter`; what it is answered goes into the list."""
        answers, given = list[Answer](), _PARENT.fullmatch(options.traceparent)
        span = self._begin(options, given, _first(request), began)
        try:
            yield answers
        except BaseException as error:
            span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            raise
        finally:
            self._end(span, options, answers)

    def _begin(
        self, options: RequestOptions, given: re.Match[bytes] | None, event: bytes | None, began: float
    ) -> "Span":
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

        context = Context()
        if given:
            trace, parent, flags = (int(part, 16) for part in given.groups())
            known = SpanContext(trace, parent, is_remote=True, trace_flags=TraceFlags(flags))
            context = set_span_in_context(NonRecordingSpan(known), context)
        elif event is not None:
            self._ids.next = int.from_bytes(blake2b(event, digest_size=16, person=b"ddnn trace").digest())
        span: Any = self._tracer.start_span(self._tier, context, SpanKind.SERVER, start_time=_unix_ns(began))
        own = span.get_span_context()
        options.traceparent = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}".encode()
        options.span = f"{own.span_id:016x}"
        return span  # type: ignore[no-any-return]

    def _end(self, span: "Span", options: RequestOptions, answers: Sequence[Answer]) -> None:
        from opentelemetry.trace import set_span_in_context

        span.set_attribute("ddnn.request_id", options.request_id)
        span.set_attribute("ddnn.events", len(answers))
        span.set_attribute("ddnn.exits", sorted({answer.exit.value for answer in answers if answer.label >= 0}))
        span.set_attribute("ddnn.degraded", sorted({answer.degraded_reason for answer in answers if answer.degraded}))
        below = set_span_in_context(span)
        for stage in options.stages:
            name = f"{stage.name} section" if stage.name in _EXITS else stage.name
            part = self._tracer.start_span(name, below, start_time=_unix_ns(stage.began))
            part.end(_unix_ns(stage.began + stage.seconds))
        span.end()


def _first(request: InferRequest) -> bytes | None:
    """The id of the first event, where there is one; whatever is wrong with it is found later."""
    events = request.inputs.get("event")
    first = events.reshape(-1)[0] if events is not None and events.size else None
    return first if isinstance(first, bytes) else None


def _unix_ns(moment: float) -> int:
    """Nanoseconds since 1970 of a moment of `time.perf_counter`."""
    return time.time_ns() - int(1e9 * (time.perf_counter() - moment))
