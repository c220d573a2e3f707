"""What a tier counts of audits, apart from what it counts of answers."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from ddnn.drift import DriftMonitor
from ddnn.types import Exit

__all__ = ["AuditMetrics", "Result"]

Result = Literal["same", "different", "failed", "skipped"]
"""Of an audit; failed: the cloud did not answer, skipped: there was no room for it."""

_BOUNDS: Final = ("share", "low", "high")


class AuditMetrics:
    """Counters of audits and traffic, and the estimates as a watch has them when they are read."""

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
            self._zero(exit)

    def _zero(self, exit: Exit) -> None:
        for bound in _BOUNDS:
            self._share.labels(exit, bound)
            if exit is not Exit.CLOUD:
                self._disagreement.labels(exit, bound)
        self._distance.labels(exit)
        if exit is not Exit.CLOUD:
            for result in get_args(Result):
                self._audits.labels(exit, result)
            self._evidence.labels(exit)
            self._alarm.labels(exit)

    def follow(self, watch: Callable[[], DriftMonitor]) -> None:
        """Show what `watch` knows from now on."""

        def show(gauge: Gauge, value: Callable[[DriftMonitor], float]) -> None:
            gauge.set_function(lambda: value(watch()))

        for exit in self._exits:
            show(self._distance.labels(exit), partial(_distance, exit))
            for bound in _BOUNDS:
                show(self._share.labels(exit, bound), partial(_share, exit, bound))
            if exit is not Exit.CLOUD:
                show(self._evidence.labels(exit), partial(_evidence, exit))
                show(self._alarm.labels(exit), partial(_alarm, exit))
                for bound in _BOUNDS:
                    show(self._disagreement.labels(exit, bound), partial(_disagreement, exit, bound))

    def count(self, exit: Exit, result: Result) -> None:
        """One audit more."""
        self._audits.labels(exit, result).inc()

    def carried(self, up: int, down: int) -> None:
        """Bytes of HTTP bodies."""
        self._bytes.labels("up").inc(up)
        self._bytes.labels("down").inc(down)


def _share(exit: Exit, bound: str, watch: DriftMonitor) -> float:
    return watch.share(exit).document()[bound]


def _disagreement(exit: Exit, bound: str, watch: DriftMonitor) -> float:
    return watch.disagreement(exit).document()[bound]


def _distance(exit: Exit, watch: DriftMonitor) -> float:
    return watch.distance(exit) or 0.0


def _evidence(exit: Exit, watch: DriftMonitor) -> float:
    return watch.evidence(exit)


def _alarm(exit: Exit, watch: DriftMonitor) -> float:
    return float(watch.alarm_of(exit) is not None)
