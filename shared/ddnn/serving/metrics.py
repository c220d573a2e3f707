"""Prometheus metrics of a tier: seconds and bytes, few labels, every label set made at 0."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, product
from time import monotonic
from typing import Final, Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ddnn.drift import DriftMonitor
from ddnn.drift.monitor import Interval
from ddnn.drift.sampling import Bucket
from ddnn.policy import Policy
from ddnn.serving.pressure import Pressure
from ddnn.types import Answer, Bools, Exit
from ddnn.uplink import Reason

__all__ = [
    "CIRCUIT",
    "CONTENT_TYPE_LATEST",
    "AuditResult",
    "DriftGauges",
    "LoopHistogram",
    "Metrics",
    "Refuted",
    "Series",
]

AuditResult = Literal["same", "different", "failed", "skipped"]  #: failed: no answer of the cloud; skipped: no room
Refuted = Literal["exit_off", "unsure", "other_policy"]  #: why an answer that a child says it has given is not believed

_SECONDS: Final = tuple(digit * 10.0**power for power in range(-5, 2) for digit in (1, 2.5, 5))[2:-2]
_SIZES: Final = tuple(2**n for n in range(11))
_SHARES: Final = tuple(n / 10 for n in range(1, 11))
REASONS: Final = get_args(Reason)
_OWN: Final = ("no_features", "no_views", "no_upstream", "gone", "draining", "reused", "budget", "outlier", "pressed")
_WHY: Final = ("sure", *REASONS, *_OWN)
CODES: Final = ("200", "400", "401", "404", "409", "413", "415", "429", "499", "500", "503", "504")
STAGES: Final = ("receive", "decode", "picture", "collect", "queue", "decide", "uplink", "encode", "send")
"""Parts of a request besides the sections, which go by their exits' names."""
CIRCUIT: Final = {"closed": 0, "half_open": 1, "open": 2}

_WAYS: Final = ("up", "down")
_LATEST: Final = 256  #: requests whose times are kept one by one
_MADE_PER_S: Final = 4.0  #: times that the text for scrapers is made: several milliseconds of the event loop each
_MADE_AT_ONCE: Final = 40

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One registry a tier, so that tiers can share a process in tests."""

    def __init__(self, exits: Iterable[Exit], devices: Sequence[int], accounts: Sequence[str] = ()) -> None:
        """`devices` are those that are joined here, `accounts` those of the escalation budget."""
        self.registry, exits = CollectorRegistry(), tuple(exits)
        self._text, self._makes = b"", Bucket(_MADE_PER_S, _MADE_AT_ONCE, monotonic)
        count, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = count("requests_total", "Inference requests, by status code", code=CODES)
        self.request_seconds = histogram("request_duration_seconds", "Inference requests, whole", _SECONDS)
        self.stage_seconds = histogram(
            "stage_duration_seconds", "Parts of a request", _SECONDS, stage=(*STAGES, *exits)
        )
        self.in_flight = gauge("in_flight", "Inference requests being worked on")
        self.queue_depth = gauge("queue_depth", "Events waiting for their contributions")
        self.batch_size = histogram("batch_size", "Events in one section run", _SIZES)
        self.exits = count("exits_total", "Events answered, by exit and why", exit=exits, reason=_WHY)
        self.confidence = histogram("exit_confidence", "1 - criterion of answers", _SHARES, exit=exits)
        self.offloads = count("offloads_total", "Requests to the tier above", result=("ok", *REASONS))
        self.uplink_bytes = count("uplink_bytes_total", "HTTP bodies", direction=_WAYS)
        self.uplink_seconds = histogram("uplink_duration_seconds", "Requests to the tier above", _SECONDS)
        self.circuit = gauge("circuit_state", "0 closed, 1 half open, 2 open")
        refusals = ("in_flight", "bytes", "deadline", "collector", "draining", "pressed")
        self.shed = count("shed_total", "Requests refused for want of room", reason=refusals)
        self.pressed = gauge("pressed_share", "Share of the events that is shed, here and by the tier above", "whose")
        for whose in ("own", "above"):
            self.pressed.labels(whose)
        self.loop_lag = gauge("loop_lag_seconds", "How late the event loop was when it was looked at last")
        self.cpu_pressure = gauge("cpu_pressure", "Share of the time in which some task waits for a CPU; -1: unknown")
        self.unbacked = count(
            "answered_unbacked_total", "Sure children that the policy does not back", reason=get_args(Refuted)
        )
        self.reused = count(
            "event_ids_reused_total", "Ids used again for something else", outcome=("new_event", "refused")
        )
        self.views_dropped = count("views_dropped_total", "Views not kept until their event was closed")
        self.doubts = gauge("doubts", "Events that are kept here to be labelled")
        self.doubts_missed = count(
            "doubts_missed_total", "Events that were to be kept and are not", reason=("rate", "memory", "disk")
        )
        self.late = count("deadline_exceeded_total", "Deadlines that passed", where=("uplink", "answer"))
        self.dropped_lines = count("log_dropped_total", "Lines of the log that nothing read in time")
        self.contributors = histogram("fusion_contributors", "Devices that took part in an event", _SIZES)
        self.missing = count("fusion_missing_total", "Events a device took no part in", device=map(str, devices))
        self.aside = self._gauge("device_set_aside", "1 while a device is in no fusion, as it contradicts", "device")
        for device in devices:
            self.aside.labels(str(device))
        self.late_devices = count(
            "fusion_late_total", "Contributions that came after their event was closed", device=map(str, devices)
        )
        self.lateness = histogram("fusion_lateness_seconds", "How long after it they came", _SECONDS)
        self.beyond_budget = count("budget_exceeded_total", "Events answered below, for the budget", whose=accounts)
        self.budget = BudgetGauges()
        self.registry.register(self.budget)
        self.report_bytes = count("report_bytes_total", "HTTP bodies of reports to the tier above")
        self.streams = gauge("streams", "Streams of tiers below that are open")
        self.policy = gauge("policy_info", "1 for the policy in force", "version", "criterion")
        self.trail_dropped = gauge("audit_trail_dropped", "Entries of the audit trail that were lost")
        self.certificate = gauge(
            "certificate_expiry_timestamp_seconds", "When this tier's certificate expires; 0: none"
        )
        self.build = gauge("build_info", "1", "version", "tier", "bundle")
        below = [exit for exit in exits if exit is not Exit.CLOUD]
        results = get_args(AuditResult)
        self.audits = count("audits_total", "Sure answers sent on to compare", exit=below, result=results)
        self.audit_bytes = count("audit_bytes_total", "HTTP bodies of audits", direction=_WAYS)
        self.drift = DriftGauges(exits)
        self.registry.register(self.drift)
        # Looking a child up by its labels costs more than counting with it.
        self.late_answer = self.late.labels("answer")
        self._round_trips = self.uplink_seconds.labels()
        self._went_up = self.offloads.labels("ok"), self.uplink_bytes.labels("up"), self.uplink_bytes.labels("down")
        self.latest: deque[tuple[float, float]] = deque(maxlen=_LATEST)
        """Of the latest inference requests that were answered, when, by `time.monotonic`, and how long they took."""
        self._answered: dict[tuple[Exit, str], tuple[Counter, Series]] = {}

    def _counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        counter = Counter(f"ddnn_{name}", text, list(labels), registry=self.registry)
        for values in product(*labels.values()) if labels else ():
            counter.labels(*values)
        return counter

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"ddnn_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], **labels: Iterable[str]) -> "LoopHistogram":
        histogram = LoopHistogram(f"ddnn_{name}", text, buckets, **labels)
        self.registry.register(histogram)
        return histogram

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
        series = self.stage_seconds.series
        for stage, value in seconds.items():
            series[stage].observe(value)

    def offloaded(self, up: int, down: int, seconds: float) -> None:
        """Count an offload that was answered, with its HTTP bodies."""
        count, sent, received = self._went_up
        count.inc()
        sent.inc(up)
        received.inc(down)
        self._round_trips.observe(seconds)

    def gathered(self, here: Bools, devices: Sequence[int]) -> None:
        """Count who of `devices` took part in a collected event; `here` [D]."""
        self.contributors.labels().observe(int(here.sum()))
        for device in devices:
            if not here[device]:
                self.missing.labels(str(device)).inc()

    def came_late(self, devices: Iterable[int], seconds: float) -> None:
        """Count a contribution of `devices` that came so long after its event was closed."""
        self.lateness.labels().observe(seconds)
        for device in devices:
            self.late_devices.labels(str(device)).inc()

    def show_pressure(self, pressure: Pressure, above: Callable[[], float]) -> None:
        self.pressed.labels("own").set_function(lambda: pressure.share)
        self.pressed.labels("above").set_function(above)
        self.loop_lag.set_function(lambda: pressure.late_s)
        self.cpu_pressure.set_function(lambda: -1.0 if pressure.cpu.share is None else pressure.cpu.share)

    def show_policy(self, policy: Policy) -> None:
        self.policy.clear()
        self.policy.labels(str(policy.version), policy.criterion).set(1)

    def exit_counts(self, exits: Iterable[Exit]) -> tuple[dict[str, int], int]:
        """How many events were answered at each of `exits`, and how many of all degraded."""
        counts, degraded = {exit.value: 0 for exit in exits}, 0
        for labels, value in _totals(self.exits):
            counts[labels["exit"]] += value
            degraded += value if labels["reason"] != "sure" else 0
        return counts, degraded

    def request_count(self) -> int:
        return sum(value for _, value in _totals(self.requests))

    def uplink_bytes_sent(self, direction: str) -> int:
        """Bytes of HTTP bodies of offloads, `up` or `down`."""
        return sum(value for labels, value in _totals(self.uplink_bytes) if labels["direction"] == direction)

    def latest_ms(self, since: float) -> tuple[float | None, float | None]:
        """Median and 95th percentile, in ms, of the latest requests that were answered since then."""
        times = sorted(seconds for at, seconds in self.latest if at >= since)
        if not times:
            return None, None
        return tuple(round(1000 * times[int(share * (len(times) - 1))], 3) for share in (0.5, 0.95))  # type: ignore[return-value]

    def text(self) -> bytes:
        """As scrapers read it; those that ask more often than it is made get it as it was made last."""
        if self._makes.take() or not self._text:
            self._text = generate_latest(self.registry)
        return self._text


def _totals(counter: Counter) -> Iterator[tuple[dict[str, str], int]]:
    for sample in next(iter(counter.collect())).samples:
        if sample.name.endswith("_total"):
            yield sample.labels, int(sample.value)


class Budgeted(Protocol):
    """What keeps the accounts of an escalation budget."""

    def shares(self) -> Mapping[str, Mapping[str, float]]:
        """What is left of each kind of each account, 0 to 1."""

    def alarms(self) -> Mapping[str, float]:
        """Since when accounts are exceeded."""


class BudgetGauges(Collector):
    """The accounts of an escalation budget as they are when they are read; none without one."""

    def __init__(self) -> None:
        self._accounts: Budgeted | None = None

    def of(self, accounts: Budgeted) -> None:
        self._accounts = accounts

    def collect(self) -> Iterable[GaugeMetricFamily]:
        left = GaugeMetricFamily("ddnn_budget_left", "Share of the burst that is left", labels=["whose", "kind"])
        alarm = GaugeMetricFamily("ddnn_budget_alarm", "1 while events are answered below", labels=["whose"])
        if self._accounts:
            shares, alarms = self._accounts.shares(), self._accounts.alarms()
            for whose in dict.fromkeys([*shares, *alarms]):
                alarm.add_metric([whose], float(whose in alarms))
                for kind, share in shares.get(whose, {}).items():
                    left.add_metric([whose, kind], share)
        yield from (left, alarm)


class DriftGauges(Collector):
    """The estimates of a drift monitor, as it has them when they are read; 0 without one."""

    def __init__(self, exits: Sequence[Exit]) -> None:
        self._exits = exits
        self.monitor: Callable[[], DriftMonitor] | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        monitor = self.monitor() if self.monitor else None
        for name, text, cloud_too, value in _ESTIMATES:
            family = GaugeMetricFamily(f"ddnn_{name}", text, labels=["exit"])
            for exit in self._exits:
                if cloud_too or exit is not Exit.CLOUD:
                    family.add_metric([exit], value(monitor, exit) if monitor else 0.0)
            yield family
        for name, text, cloud_too, interval in _INTERVALS:
            family = GaugeMetricFamily(f"ddnn_{name}", text, labels=["exit", "bound"])
            for exit, bound in product(self._exits, ("share", "low", "high")):
                if cloud_too or exit is not Exit.CLOUD:
                    family.add_metric([exit, bound], interval(monitor, exit).document()[bound] if monitor else 0.0)
            yield family
        yield from self._of_classes(monitor)

    def _of_classes(self, monitor: DriftMonitor | None) -> Iterable[GaugeMetricFamily]:
        classes = monitor.classes if monitor else []
        recall = GaugeMetricFamily(
            "ddnn_audit_recall", "Share of a class, by the cloud, in audited answers", labels=["class", "bound"]
        )
        alarm = GaugeMetricFamily("ddnn_audit_class_alarm", "1 once its promise is rejected", labels=["class"])
        for index in classes:
            assert monitor is not None
            for bound, value in monitor.recall(index).document().items():
                recall.add_metric([str(index), bound], value)
            alarm.add_metric([str(index)], float(monitor.alarm_of(index) is not None))
        yield from (recall, alarm)


_ESTIMATES: Final[tuple[tuple[str, str, bool, Callable[[DriftMonitor, Exit], float]], ...]] = (
    (
        "exit_confidence_distance",
        "From the confidences the policy was tuned on",
        True,
        lambda m, e: m.distance(e) or 0.0,
    ),
    ("audit_e_value", "Evidence against the promise", False, DriftMonitor.evidence),
    ("audit_alarm", "1 once the promise is no longer supported", False, lambda m, e: float(m.alarm_of(e) is not None)),
)
"""Name, text, whether the cloud has one too, and what it shows."""
_INTERVALS: Final[tuple[tuple[str, str, bool, Callable[[DriftMonitor, Exit], Interval]], ...]] = (
    ("disagreement", "Share of an exit's answers unlike the cloud's", False, DriftMonitor.disagreement),
    ("exit_share", "Share of the latest answers given at an exit", True, DriftMonitor.share),
)


class Series:
    """The counts of one label's value, in plain lists.

    The library's histogram, with its locks and its search, takes a tenth of a request's time.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0  # of all values

    @property
    def count(self) -> int:
        return sum(self._counts)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulated(self) -> list[tuple[str, float]]:
        """(bound, how many are at most that) of each bucket."""
        bounds = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]
        return list(zip(bounds, accumulate(self._counts), strict=True))


class LoopHistogram(Collector):
    """A histogram of `Series`, read as any other when it is scraped, with one label at most."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], **labels: Iterable[str]) -> None:
        """`labels`: the values of the label, which are there from the start."""
        self._name, self._text, self._buckets, self._labels = name, text, tuple(buckets), list(labels)
        values = next(iter(labels.values()), ("",))
        self.series = {value: Series(self._buckets) for value in values}

    def labels(self, value: str = "") -> Series:
        """The series of a value of the label; without a label the one there is."""
        return self.series[value]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for value, series in self.series.items():
            family.add_metric([value] if self._labels else [], series.cumulated(), series.total)
        yield family
