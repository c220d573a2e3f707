"""`POST /v2/models/ddnn/infer` as pure ASGI: the one path where microseconds count.

A web framework's layers (routing, request and response objects, their headers) take longer than most sections, so this
path has none of them; everything else is FastAPI's. A request is read, decoded, answered, encoded and sent, and each of
these is timed, so that the stages add up to the whole.
"""

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic, perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from ddnn.answers import encode_answers
from ddnn.errors import DDNNError, DeadlineExceeded
from ddnn.serving import openapi
from ddnn.serving.admission import arrived
from ddnn.serving.base import Service
from ddnn.serving.body import read_body
from ddnn.serving.case import Terms
from ddnn.serving.tensors import answer_tensors
from ddnn.serving.terms import read_budget, read_terms
from ddnn.types import Tier
from ddnn.wire import HEADER_LENGTH, Limits, decode_request

__all__ = ["PATHS", "Infer"]

_log = logging.getLogger("ddnn")

_MODEL: Final = f"/v2/models/{openapi.MODEL}"
PATHS: Final = frozenset({f"{_MODEL}/infer", f"{_MODEL}/versions/{openapi.VERSION}/infer"})
_BINARY: Final = HEADER_LENGTH.lower()


class Infer:
    """Answers events, from this tier up; raises `DDNNError`, which the gate before it makes an answer of."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._wants_features = service.tier is Tier.EDGE
        outputs = answer_tensors(service.classes, service.devices, need_features=self._wants_features)
        self._first_exit = service.bundle.topology.exits[0]
        self._outputs = tuple(spec.name for spec in outputs)
        self._limits = Limits.of(
            [(spec.datatype, spec.largest) for spec in service.inputs],
            rows=service.settings.max_batch,
            cap=service.settings.max_body_bytes,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        except DDNNError:
            raise
        except Exception as error:
            identity = scope["state"]["request_id"]
            _log.error("request %s failed", identity, exc_info=error)
            raise DDNNError(f"an error of ours; this tier's log has it under {identity}") from error

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        came = arrived(scope)
        # `perf_counter` has its own zero: what was before this line is known by the clock that noted the arrival.
        first = perf_counter() - (monotonic() - came)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        service, budget_ms = self._service, read_budget(headers)
        body = await self._body(scope, receive, headers, came + self._allowed_s(budget_ms))
        received = perf_counter()
        asked = decode_request(body, headers.get(_BINARY), self._limits)
        asked.refuse_unknown_outputs(self._outputs)
        terms = read_terms(
            asked,
            headers,
            arrived=came,
            budget_ms=budget_ms,
            default_ms=service.settings.deadline_ms,
            bundle=service.bundle.fingerprint,
            first_exit=self._first_exit,
            request_id=scope["state"]["request_id"],
        )
        decoded = perf_counter()
        if terms.deadline <= monotonic():
            service.metrics.late_answer.inc()
            raise DeadlineExceeded("the deadline had passed before there was anything to answer with")
        answers = await service.infer(asked, terms)
        answered = perf_counter()
        content, head = encode_answers(answers, asked, need_features=self._wants_features)
        stages = {"receive": received - first, "decode": decoded - received}
        rest = answered - decoded
        for stage in terms.stages:
            stages[stage.name] = stages.get(stage.name, 0.0) + stage.seconds
            rest -= stage.seconds
        stages["decide"] = max(0.0, rest)
        timing = self._timing(stages, terms).encode("latin-1")
        encoded = perf_counter()
        head = [*head, (b"content-length", b"%d" % len(content)), (b"server-timing", timing)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": content})
        service.metrics.stages({**stages, "encode": encoded - answered, "send": perf_counter() - encoded})

    def _allowed_s(self, budget_ms: float | None) -> float:
        return (self._service.settings.deadline_ms if budget_ms is None else budget_ms) / 1000

    async def _body(self, scope: Scope, receive: Receive, headers: Mapping[str, str], deadline: float) -> bytes:
        if scope["state"].get("whole"):
            return await read_body(receive, headers, self._limits)
        try:
            async with asyncio.timeout_at(deadline):
                return await read_body(receive, headers, self._limits)
        except TimeoutError as error:
            self._service.metrics.late_answer.inc()
            raise DeadlineExceeded("the deadline had passed before the body was there") from error

    def _timing(self, stages: Mapping[str, float], terms: Terms) -> str:
        """The value of `Server-Timing`."""
        tier = self._service.tier.value
        own = [f"{tier}-{stage};dur={1000 * seconds:.3f}" for stage, seconds in stages.items()]
        return ", ".join([*own, *terms.upper_timings])
