"""A histogram for what is counted on the event loop alone, many times a request.

The library's takes a lock for each number and looks through the buckets one by one, in case threads count: a dozen of
those a request are a tenth of its time. This one counts in plain lists, and is read as any other when it is scraped.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["LoopHistogram", "Series"]


class Series:
    """The counts of one label's value."""

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
    """One metric; with `label`, a series for each of its values, else one."""

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
