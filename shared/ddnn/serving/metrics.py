"""Prometheus metrics of a tier: seconds and bytes, few labels, every label set made at 0."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ddnn.serving.audit_metrics import AuditMetrics
from ddnn.serving.histogram import LoopHistogram, Series
from ddnn.types import Answer, Bools, Exit
from ddnn.uplink import Reason

__all__ = ["CIRCUIT", "CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SHARES = tuple(n / 10 for n in range(1, 11))
REASONS: Final = get_args(Reason)
_WHY: Final = ("sure", *REASONS, "no_features", "no_upstream", "gone", "draining")
CODES: Final = ("200", "400", "401", "404", "409", "413", "415", "429", "499", "500", "503", "504")
STAGES: Final = ("receive", "decode", "collect", "queue", "decide", "uplink", "encode", "send")
"""Parts of a request besides the sections, which go by their exits' names."""
CIRCUIT: Final = {"closed": 0, "half_open": 1, "open": 2}

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One registry a tier, so that tiers can share a process in tests."""

    def __init__(self, exits: Iterable[Exit], devices: Sequence[int]) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter("ddnn_requests_total", "Inference requests, by status code", ["code"], registry=r)
        self.request_seconds = LoopHistogram(
            "ddnn_request_duration_seconds", "Inference requests, whole", buckets=_SECONDS, registry=r
        )
        self.stage_seconds = LoopHistogram(
            "ddnn_stage_duration_seconds", "Parts of a request", label="stage", buckets=_SECONDS, registry=r
        )
        self.in_flight = Gauge("ddnn_in_flight", "Inference requests being worked on", registry=r)
        self.queue_depth = Gauge("ddnn_queue_depth", "Events waiting for their contributions", registry=r)
        self.batch_size = LoopHistogram("ddnn_batch_size", "Events in one section run", buckets=_SIZES, registry=r)
        self.exits = Counter("ddnn_exits_total", "Events answered, by exit and why", ["exit", "reason"], registry=r)
        self.confidence = LoopHistogram(
            "ddnn_exit_confidence", "1 - criterion of answers", label="exit", buckets=_SHARES, registry=r
        )
        self.offloads = Counter("ddnn_offloads_total", "Requests to the tier above", ["result"], registry=r)
        self.uplink_bytes = Counter("ddnn_uplink_bytes_total", "HTTP bodies", ["direction"], registry=r)
        self.uplink_seconds = Histogram(
            "ddnn_uplink_duration_seconds", "Requests to the tier above", buckets=_SECONDS, registry=r
        )
        self.circuit = Gauge("ddnn_circuit_state", "0 closed, 1 half open, 2 open", registry=r)
        self.shed = Counter("ddnn_shed_total", "Requests refused for want of room", ["reason"], registry=r)
        self.late = Counter("ddnn_deadline_exceeded_total", "Deadlines that passed", ["where"], registry=r)
        self.contributors = Histogram(
            "ddnn_fusion_contributors", "Devices that took part in an event", buckets=_SIZES, registry=r
        )
        self.missing = Counter("ddnn_fusion_missing_total", "Events a device took no part in", ["device"], registry=r)
        self.policy = Gauge("ddnn_policy_info", "1 for the policy in force", ["version", "criterion"], registry=r)
        self.build = Gauge("ddnn_build_info", "1", ["version", "tier", "bundle"], registry=r)
        exits = tuple(exits)
        self.audits = AuditMetrics(r, exits)
        self._zero(exits, devices)
        # Looking a child up by its labels costs more than counting with it.
        self.late_answer = self.late.labels("answer")
        self._stages = {stage: self.stage_seconds.labels(stage) for stage in (*STAGES, *exits)}
        self._answered: dict[tuple[Exit, str], tuple[Counter, Series]] = {}

    def _zero(self, exits: Iterable[Exit], devices: Sequence[int]) -> None:
        for code in CODES:
            self.requests.labels(code)
        for exit in exits:
            self.confidence.labels(exit)
            for reason in _WHY:
                self.exits.labels(exit, reason)
        for result in ("ok", *REASONS):
            self.offloads.labels(result)
        for direction in ("up", "down"):
            self.uplink_bytes.labels(direction)
        for reason in ("in_flight", "bytes", "deadline", "collector", "draining"):
            self.shed.labels(reason)
        for where in ("uplink", "answer"):
            self.late.labels(where)
        for device in devices:
            self.missing.labels(str(device))

    def answered(self, answer: Answer) -> None:
        """Count what was answered here; a row that only asks for features, or could not be answered, is no answer."""
        if answer.label >= 0:
            reason = answer.degraded_reason or "sure"
            reason = reason if reason in _WHY else "error"
            if (known := self._answered.get((answer.exit, reason))) is None:
                count = self.exits.labels(answer.exit, reason)
                known = self._answered[answer.exit, reason] = count, self.confidence.labels(answer.exit)
            count, confidence = known
            count.inc()
            confidence.observe(answer.confidence)

    def stages(self, seconds: Mapping[str, float]) -> None:
        """Time the parts of one request."""
        for stage, each in seconds.items():
            self._stages[stage].observe(each)

    def gathered(self, here: Bools, devices: Sequence[int]) -> None:
        """Count who of `devices` took part in a collected event; `here` [D]."""
        self.contributors.observe(int(here.sum()))
        for device in devices:
            if not here[device]:
                self.missing.labels(str(device)).inc()

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
