"""What a round of learning gained, told of each data set, on test events alone."""

from dataclasses import replace
from typing import Any

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import load, mixed
from ddnn.evaluation import decide, record
from ddnn.evaluation.gain import gained, gained_lines
from ddnn.policy import Thresholds


def test_what_was_right_before_and_is_now_is_counted_by_data_set(tiny_bundle: Bundle) -> None:
    local = replace(tiny_bundle, policy=tiny_bundle.policy.at(Thresholds(local=1.0)))
    cloud = replace(tiny_bundle, policy=tiny_bundle.policy.at(Thresholds(local=0.0, edge=0.0)))
    first, second = load("synthetic", seed=3), load("synthetic", seed=4)
    test = mixed(first, second).subset("test")
    rows = gained(local, cloud, test)
    assert [row["events"] for row in rows] == [len(first.subset("test")), len(second.subset("test"))]
    for row, data in zip(rows, (first, second), strict=True):
        part = data.subset("test")
        was, now = (decide(record(each, part), each.policy).label == part.y for each in (local, cloud))
        assert (row["before"], row["after"]) == (was.mean(), now.mean())
        assert (row["set_right"], row["set_wrong"]) == ((now & ~was).sum(), (was & ~now).sum())
    assert gained(cloud, cloud, first.subset("test"))[0]["set_right"] == 0


def test_it_is_said_in_a_sentence() -> None:
    row: dict[str, Any] = {"data": "doubts", "events": 40, "before": 0.525, "after": 0.8}
    row |= {"set_right": 13, "set_wrong": 2}
    (line,) = gained_lines([row])
    assert line == "doubts: 52.5 % of 40 test events right before, 80.0 % now (13 set right, 2 set wrong)"
    assert np.isclose(row["before"] * 40 + 13 - 2, row["after"] * 40)
