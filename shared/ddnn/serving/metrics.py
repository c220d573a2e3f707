"""Prometheus metrics of a tier: seconds and bytes, few labels, every label set made at 0."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ddnn.drift import DriftMonitor
from ddnn.policy import Policy
from ddnn.serving.event import Event
from ddnn.types import Answer, Bools, Exit
from ddnn.uplink import Reason

__all__ = ["CIRCUIT", "CONTENT_TYPE_LATEST", "AuditMetrics", "AuditResult", "LoopHistogram", "Metrics", "Series"]

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
AuditResult = Literal["same", "different", "failed", "skipped"]
"""failed: the cloud did not answer, skipped: there was no room for it."""
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

    def answered(self, event: Event, answer: Answer) -> None:
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

    def offloaded(self, up: int, down: int, seconds: float) -> None:
        """Count an offload that was answered, with its HTTP bodies."""
        self.offloads.labels("ok").inc()
        self.uplink_bytes.labels("up").inc(up)
        self.uplink_bytes.labels("down").inc(down)
        self.uplink_seconds.observe(seconds)

    def gathered(self, here: Bools, devices: Sequence[int]) -> None:
        """Count who of `devices` took part in a collected event; `here` [D]."""
        self.contributors.observe(int(here.sum()))
        for device in devices:
            if not here[device]:
                self.missing.labels(str(device)).inc()

    def show_policy(self, policy: Policy) -> None:
        """Another policy is in force."""
        self.policy.clear()
        self.policy.labels(str(policy.version), policy.criterion).set(1)

    def exit_counts(self, exits: Iterable[Exit]) -> tuple[dict[str, int], int]:
        """How many events were answered at each of `exits`, and how many of all degraded."""
        counts, degraded = {exit.value: 0 for exit in exits}, 0
        for sample in next(iter(self.exits.collect())).samples:
            if sample.name.endswith("_total"):
                counts[sample.labels["exit"]] += int(sample.value)
                degraded += int(sample.value) if sample.labels["reason"] != "sure" else 0
        return counts, degraded

    def request_count(self) -> int:
        """Inference requests answered, whatever the code."""
        samples = next(iter(self.requests.collect())).samples
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)


_BOUNDS: Final = ("share", "low", "high")


class AuditMetrics:
    """Counters of audits and their traffic, apart from those of answers, and the estimates of a drift monitor."""

    def __init__(self, registry: CollectorRegistry, exits: Iterable[Exit]) -> None:
        r, self._exits = registry, tuple(exits)
        self._audits = Counter("ddnn_audits_total", "Sure answers sent on to compare", ["exit", "result"], registry=r)
        self._bytes = Counter("ddnn_audit_bytes_total", "HTTP bodies of audits", ["direction"], registry=r)
        self._disagreement = Gauge(
            "ddnn_disagreement", "Share of an exit's answers unlike the cloud's", ["exit", "bound"], registry=r
        )
        self._share = Gauge(
            "ddnn_exit_share", "Share of the latest answers given at an exit", ["exit", "bound"], registry=r
        )
        self._distance = Gauge(
            "ddnn_exit_confidence_distance", "From the confidences the policy was tuned on", ["exit"], registry=r
        )
        self._evidence = Gauge("ddnn_audit_e_value", "Evidence against the promise", ["exit"], registry=r)
        self._alarm = Gauge("ddnn_audit_alarm", "1 once the promise is no longer supported", ["exit"], registry=r)
        for direction in ("up", "down"):
            self._bytes.labels(direction)
        for exit in self._exits:
            for result in get_args(AuditResult) if exit is not Exit.CLOUD else ():
                self._audits.labels(exit, result)
            for gauge, bound, _ in self._shown(exit):
                self._labelled(gauge, exit, bound)

    def follow(self, monitor: Callable[[], DriftMonitor]) -> None:
        """Show what `monitor` knows from now on."""

        def read(value: Callable[[DriftMonitor], float]) -> float:
            return value(monitor())

        for exit in self._exits:
            for gauge, bound, value in self._shown(exit):
                self._labelled(gauge, exit, bound).set_function(partial(read, value))

    def count(self, exit: Exit, result: AuditResult) -> None:
        """One audit more."""
        self._audits.labels(exit, result).inc()

    def carried(self, up: int, down: int) -> None:
        """Bytes of HTTP bodies."""
        self._bytes.labels("up").inc(up)
        self._bytes.labels("down").inc(down)

    def _shown(self, exit: Exit) -> Iterable[tuple[Gauge, str, Callable[[DriftMonitor], float]]]:
        """Each gauge of an exit, its bound, if it has one, and what it shows."""
        yield self._distance, "", lambda monitor: monitor.distance(exit) or 0.0
        for bound in _BOUNDS:
            yield self._share, bound, partial(_share, exit, bound)
        if exit is Exit.CLOUD:
            return
        yield self._evidence, "", lambda monitor: monitor.evidence(exit)
        yield self._alarm, "", lambda monitor: float(monitor.alarm_of(exit) is not None)
        for bound in _BOUNDS:
            yield self._disagreement, bound, partial(_disagreement, exit, bound)

    @staticmethod
    def _labelled(gauge: Gauge, exit: Exit, bound: str) -> Gauge:
        return gauge.labels(exit, bound) if bound else gauge.labels(exit)


def _share(exit: Exit, bound: str, monitor: DriftMonitor) -> float:
    return monitor.share(exit).document()[bound]


def _disagreement(exit: Exit, bound: str, monitor: DriftMonitor) -> float:
    return monitor.disagreement(exit).document()[bound]


class Series:
    """The counts of one label's value, in plain lists: all counting is on the event loop.

    The library's histogram takes a lock for each number and looks through the buckets one by one, in case threads
    count: a dozen of those a request are a tenth of its time.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Of all values."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """(bound, how many are at most that) of each bucket, and the sum."""
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append((floatToGoString(bound), total))  # type: ignore[no-untyped-call]
        return buckets, self.total


class LoopHistogram(Collector):
    """A histogram, read as any other when it is scraped; with `label`, a series for each of its values, else one."""

    def __init__(
        self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry, label: str = ""
    ) -> None:
        self._name, self._documentation, self._buckets = name, documentation, tuple(buckets)
        self._label = label
        self._series: dict[str, Series] = {} if label else {"": Series(self._buckets)}
        registry.register(self)

    def labels(self, value: str = "") -> Series:
        """The series of a value of the label; without a label the one there is."""
        if value not in self._series:
            self._series[value] = Series(self._buckets)
        return self._series[value]

    def observe(self, value: float) -> None:
        """Count one value, where there is no label."""
        self._series[""].observe(value)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What is scraped."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label] if self._label else [])
        for value, series in self._series.items():
            family.add_metric([value] if self._label else [], *series.cumulated())
        yield family
