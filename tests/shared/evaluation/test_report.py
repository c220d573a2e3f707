"""The document of `ddnn evaluate --json`."""

import json
from collections.abc import Callable
from io import StringIO
from itertools import combinations

import numpy as np
import pytest
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import decide, evaluate, record
from ddnn.evaluation.table import show
from ddnn.types import Exit

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]

EXITS = ["device", "local", "edge", "cloud"]


def test_the_document_has_these_keys(make_bundle: MakeBundle, make_data: MakeData) -> None:
    document = evaluate(make_bundle(), make_data(), missing=True)
    assert list(document) == [
        "events",
        "classes",
        "devices",
        "split",
        "exits",
        "overall",
        "by_class",
        "bytes",
        "sent",
        "missing",
    ]
    assert [document[key] for key in ("events", "classes", "devices", "split")] == [40, 3, 3, "test"]
    assert list(document["exits"]) == EXITS
    assert [list(document["exits"][exit]) for exit in EXITS] == [["accuracy"]] * 4
    assert len(document["exits"]["device"]["accuracy"]) == 3
    assert list(document["overall"]) == ["accuracy", "exit_share", "thresholds"]
    assert list(document["overall"]["exit_share"]) == EXITS
    assert document["overall"]["thresholds"] == {"device": 0.0, "local": 0.5, "edge": 0.5}
    assert list(document["bytes"]) == ["device_to_edge", "edge_to_cloud", "formula", "raw_views"]
    assert [list(document["bytes"][link]) for link in ("device_to_edge", "edge_to_cloud")] == [["payload", "body"]] * 2
    assert list(document["missing"]) == ["one", "subsets"]
    assert list(document["missing"]["one"]) == ["mean", "worst", "each"]
    assert list(document["missing"]["subsets"]) == ["0", "1", "2", "0+1", "0+2", "1+2", "0+1+2"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_an_exit_that_is_not_there_is_null(make_bundle: MakeBundle, make_data: MakeData) -> None:
    document = evaluate(make_bundle(section=False), make_data())
    assert "missing" not in document
    assert document["exits"]["edge"] is None
    assert document["overall"]["exit_share"]["edge"] is None
    assert document["overall"]["thresholds"]["edge"] is None


def test_where_raw_views_go_up_the_cloud_alone_has_figures(make_bundle: MakeBundle, make_data: MakeData) -> None:
    document = evaluate(make_bundle(((0, 2), (1,)), raw=True), make_data(), missing=True)
    assert [document["exits"][exit] is None for exit in EXITS] == [True, True, True, False]
    assert document["overall"]["exit_share"] == {"device": None, "local": None, "edge": None, "cloud": 1.0}
    assert document["overall"]["thresholds"] == {"device": None, "local": None, "edge": None}
    assert document["overall"]["accuracy"] == document["exits"]["cloud"]["accuracy"]
    assert document["missing"]["one"]["worst"] == min(document["missing"]["one"]["each"])
    out = StringIO()
    show(json.loads(json.dumps(document, allow_nan=False)), Console(file=out, width=100))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["local", "-", "-", "-", "-"] in lines
    assert any(line[:2] == ["0", "-"] for line in lines)


def test_missing_is_what_a_fresh_record_gives(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data(30, hidden=0.2)
    document = evaluate(bundle, data, missing=True)
    for size in (1, 2, 3):
        for group in combinations(range(3), size):
            present = np.broadcast_to(np.isin(range(3), group), (30, 3))
            accuracy = decide(record(bundle, data, present=present), bundle.policy).accuracy(data.y)
            assert document["missing"]["subsets"]["+".join(map(str, group))] == accuracy
    subsets, one = document["missing"]["subsets"], document["missing"]["one"]
    assert one["each"] == [subsets["1+2"], subsets["0+2"], subsets["0+1"]]
    assert one["mean"] == pytest.approx(np.mean(one["each"]))
    assert one["worst"] == min(one["each"])
    assert subsets["0+1+2"] == document["overall"]["accuracy"]


def test_more_than_six_devices_are_lost_one_at_a_time_only(make_bundle: MakeBundle, make_data: MakeData) -> None:
    document = evaluate(make_bundle((range(7),)), make_data(10, devices=7), missing=True)
    assert document["missing"]["subsets"] is None
    assert len(document["missing"]["one"]["each"]) == 7


def test_a_lone_device_cannot_be_lost(make_bundle: MakeBundle, make_data: MakeData) -> None:
    document = evaluate(make_bundle(((0,),)), make_data(10, devices=1), missing=True)
    assert document["missing"] == {"one": None, "subsets": {"0": document["overall"]["accuracy"]}}


def test_device_accuracy_is_on_what_the_device_sees(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data(30, hidden=0.4)
    device = record(bundle, data).of(Exit.DEVICE).argmax(axis=2)
    told = evaluate(bundle, data)["exits"]["device"]["accuracy"]
    for i in range(3):
        seen = data.present[:, i]
        assert told[i] == pytest.approx((device[seen, i] == data.y[seen]).mean())
