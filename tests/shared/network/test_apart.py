"""Blocks that keep the children of a fusion apart."""

import pytest
import torch

from ddnn.errors import BadConfig
from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.network.blocks import Trunk
from ddnn.network.plan import SectionPlan
from ddnn.topology import View

VIEWS = [View(shape=(1, 8, 8), dtype="FP32")] * 3
RAW = {"device_section": False, "edge_section": False}


def config(apart: int, *filters: int, **changes: object) -> NetworkConfig:
    cloud = {"apart": apart, "filters": filters}
    return NetworkConfig.model_validate({**RAW, "cloud": {**cloud, "flat": False}, **changes})


def test_blocks_apart_see_their_own_child_alone() -> None:
    made = Plan.of(config(2, 6, 12), VIEWS, 4)
    trunk = Trunk(made.config, SectionPlan.of(made.cloud(None, 3))).eval()
    one = torch.randn(2, 3, 8, 8)
    other = one.clone()
    other[:, 1] = 0
    same = (trunk(one) == trunk(other)).flatten(2).all(dim=2).all(dim=0)
    assert same.tolist() == [True] * 4 + [False] * 4 + [True] * 4


def test_what_comes_after_them_sees_all() -> None:
    network = DDNN(Plan.of(config(1, 6, 5), VIEWS, 4)).eval()
    views, present = [torch.randn(2, 1, 8, 8) for _ in VIEWS], torch.ones(2, 3, dtype=torch.bool)
    before = network(views, present).cloud
    views[2] = views[2] + 1
    assert (network(views, present).cloud != before).all()


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (config(1, 7), r"first 1 of the filters \[7\] keep 3 apart; expected multiples"),
        (config(1, 6, blocks="binary"), "network.cloud.apart is 1; expected 0 but of float convolutions"),
        (NetworkConfig.model_validate({"device": {"apart": 1}}), r"network.device.apart is 1; expected 0"),
        (NetworkConfig.model_validate({"cloud": {"apart": 2, "flat": True}}), r"network.cloud.apart is 2"),
    ],
)
def test_blocks_that_cannot_be_apart_are_refused(made: NetworkConfig, sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        DDNN(Plan.of(made, VIEWS, 4))
