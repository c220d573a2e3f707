"""A histogram that counts without locks says the same as the library's."""

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from ddnn.serving.metrics import LoopHistogram

BUCKETS = (0.5, 1.0, 2.5)
VALUES = [*np.random.default_rng(0).exponential(size=200).tolist(), *BUCKETS, 0.0, 1e9]


def lines(registry: CollectorRegistry) -> dict[str, float]:
    text = generate_latest(registry).decode()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")}


def test_it_is_scraped_as_the_librarys_is() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    ours.register(mine := LoopHistogram("m", "Help", BUCKETS))
    its = Histogram("m", "Help", buckets=BUCKETS, registry=theirs)
    for value in VALUES:
        mine.labels().observe(value)
        its.observe(value)
    assert lines(ours) == lines(theirs)
    assert (mine.labels().count, mine.labels().total) == (len(VALUES), sum(VALUES))


def test_each_value_of_a_label_has_its_series_from_the_start() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    ours.register(mine := LoopHistogram("m", "Help", BUCKETS, kind=("a", "b")))
    its = Histogram("m", "Help", ["kind"], buckets=BUCKETS, registry=theirs)
    mine.labels("a").observe(0.7)
    its.labels("a").observe(0.7)
    its.labels("b")
    assert lines(ours) == lines(theirs)
