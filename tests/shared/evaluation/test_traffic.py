"""Bytes, counted by hand; and the paper's formula, against every number its authors published of it."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import decide, record
from ddnn.evaluation.report import formula, traffic
from ddnn.policy import Policy, Thresholds
from ddnn.traffic import communication_bytes
from ddnn.types import Exit
from ddnn.wire import encode_request

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]

SCORES, FEATURES, VIEW = 4 * 3, 2, 4 * 4  # 3 classes, 12 bits, 4 floats


def policy(
    device: float = 0, local: float = 0, edge: float = 0, offload: Literal["staged", "eager"] = "staged"
) -> Policy:
    return Policy(bundle="b", thresholds=Thresholds(device=device, local=local, edge=edge), offload=offload)


def counted(bundle: Bundle, data: Dataset, policy: Policy) -> dict[str, Any]:
    scores = record(bundle, data)
    return traffic(scores, decide(scores, policy), policy)


def test_events_that_leave_at_the_local_exit_cost_scores_alone(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(), make_data(10), policy(local=1))
    assert bytes["device_to_edge"]["payload"] == 3 * SCORES
    assert bytes["edge_to_cloud"] == {"payload": 0, "body": 0}
    assert bytes["formula"] == 3 * SCORES
    assert bytes["raw_views"] == 3 * VIEW


def test_events_that_go_up_cost_scores_and_features_and_presence(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data(10)
    bytes = counted(bundle, data, policy())
    assert bytes["device_to_edge"]["payload"] == 3 * (SCORES + FEATURES)
    assert bytes["edge_to_cloud"]["payload"] == FEATURES + 3
    assert bytes["formula"] == 3 * (SCORES + 12 / 8)
    at_edge = counted(bundle, data, policy(edge=1))
    assert at_edge["device_to_edge"] == bytes["device_to_edge"]
    assert at_edge["edge_to_cloud"]["payload"] == 0


def test_without_an_edge_section_the_devices_features_go_on(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(section=False), make_data(10), policy())
    assert bytes["device_to_edge"]["payload"] == 3 * (SCORES + FEATURES)
    assert bytes["edge_to_cloud"]["payload"] == 3 * FEATURES + 3


def test_eager_offload_always_sends_both(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(), make_data(10), policy(local=1, offload="eager"))
    assert bytes["device_to_edge"]["payload"] == 3 * (SCORES + FEATURES)


def test_absent_devices_send_nothing(make_bundle: MakeBundle, make_data: MakeData) -> None:
    data = make_data(50, hidden=0.5)
    bytes = counted(make_bundle(), data, policy())
    share = data.present.sum() / 50
    assert bytes["device_to_edge"]["payload"] == pytest.approx(share * (SCORES + FEATURES))
    assert bytes["raw_views"] == pytest.approx(share * VIEW)


def test_a_sure_device_sends_its_scores_unless_it_is_alone(make_bundle: MakeBundle, make_data: MakeData) -> None:
    group = counted(make_bundle(), make_data(10), policy(device=1))
    assert group["device_to_edge"]["payload"] == 3 * SCORES
    alone = counted(make_bundle(((0,),), name="alone"), make_data(10, devices=1), policy(device=1))
    assert alone["device_to_edge"] == {"payload": 0, "body": 0}


def test_of_several_edges_a_sure_one_tells_the_cloud(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(((0, 1), (2,))), make_data(10), policy(local=1))
    assert bytes["edge_to_cloud"]["payload"] == 2 * SCORES + 3


def test_what_an_edge_tells_is_the_encoded_request(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(((0, 1), (2,))), make_data(10), policy(local=1))
    told = {
        "event": np.array([b"e" * 32], np.object_),
        "scores": np.zeros((1, 3), np.float32),
        "exit": np.array([b"local"], np.object_),
        "answered": np.ones(1, np.bool_),
    }
    bodies = [
        encode_request({**told, "present": np.ones((1, devices), np.bool_)}, parameters={"edge": edge})[0]
        for edge, devices in enumerate((2, 1))
    ]
    assert bytes["edge_to_cloud"]["body"] == sum(map(len, bodies))


def test_raw_views_cost_themselves_twice(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(raw=True), make_data(10), policy(local=1))
    assert bytes["device_to_edge"]["payload"] == bytes["raw_views"] == 3 * VIEW
    assert bytes["edge_to_cloud"]["payload"] == 3 * VIEW + 3


def test_bodies_are_the_encoded_requests(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bytes = counted(make_bundle(), make_data(10), policy())
    event = np.array([b"e" * 32], np.object_)
    scores, features = np.zeros((1, 3), np.float32), np.zeros((1, FEATURES), np.uint8)
    first, second = (
        sum(
            len(encode_request({"event": event, name: tensor}, parameters={"device": i, "max_exit": "cloud"})[0])
            for i in range(3)
        )
        for name, tensor in (("scores", scores), ("features", features))
    )
    up, _ = encode_request(
        {"event": event, "features": features, "present": np.ones((1, 3), np.bool_)}, parameters={"edge": 0}
    )
    assert bytes["device_to_edge"]["body"] == first + second
    assert bytes["edge_to_cloud"]["body"] == len(up)


def test_the_formula_is_the_papers(make_bundle: MakeBundle, make_data: MakeData) -> None:
    scores = record(make_bundle(), make_data(200))
    some = policy(local=0.6, edge=0.6)
    decisions = decide(scores, some)
    leave = decisions.share(Exit.LOCAL)
    assert 0 < leave < 1
    assert formula(scores, decisions) == pytest.approx(3 * (4 * 3 + (1 - leave) * 12 / 8))


@pytest.mark.parametrize(
    ("local_percent", "published"),
    [(0, 140), (0.58, 139), (1.75, 138), (2.92, 136), (22.81, 111), (60.82, 62), (83.04, 34), (100, 12)],
)
def test_the_row_of_the_threshold_table(local_percent: float, published: int) -> None:
    assert round(communication_bytes(3, 4, 256, local_percent / 100)) == published


@pytest.mark.parametrize(
    ("filters", "local_percent", "published"), [(1, 70.18, 14), (2, 73.68, 16), (4, 70.76, 21), (8, 71.35, 30)]
)
def test_the_row_of_the_device_filters(filters: int, local_percent: float, published: int) -> None:
    assert round(communication_bytes(3, filters, 64, local_percent / 100)) == published


def test_a_raw_view_is_over_twenty_times_as_large() -> None:
    assert communication_bytes(3, 4, 256, 0) == 140
    assert 32 * 32 * 3 / 140 > 20
