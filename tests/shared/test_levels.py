"""Whose views go up, and what a configuration of a cloud that takes views may say."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddnn.errors import BadConfig
from ddnn.levels import picked
from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.network.normalise import Shrink
from ddnn.topology import Topology, View

SCORES = np.array([[[5.0, 0.0], [1.0, 0.0], [3.0, 0.0]]])
EVERYBODY = np.ones((1, 3), np.bool_)


def test_the_surest_or_the_least_sure_are_picked_of_those_present() -> None:
    assert picked(SCORES, EVERYBODY, 0, "sure").tolist() == [[True, True, True]]
    assert picked(SCORES, EVERYBODY, 2, "sure").tolist() == [[True, False, True]]
    assert picked(SCORES, EVERYBODY, 1, "unsure").tolist() == [[False, True, False]]
    assert picked(SCORES, np.array([[False, True, True]]), 1, "sure").tolist() == [[False, False, True]]


def test_of_equally_sure_devices_the_lower_index_is_picked() -> None:
    assert picked(np.zeros((2, 3, 4)), np.ones((2, 3), np.bool_), 2, "sure").tolist() == [[True, True, False]] * 2


def config(**cloud: Any) -> NetworkConfig:
    return NetworkConfig.model_validate({"cloud": {"takes": "views", **cloud}})


VIEW = View(shape=(3, 16, 16), dtype="UINT8")


@pytest.mark.parametrize(
    ("network", "view", "sentence"),
    [
        (config(views=4), VIEW, "network.cloud.views is 4; expected at most 3"),
        (config(picture="bits1"), VIEW, "network.cloud.picture is 'bits1'; expected jpeg or webp"),
        (config(), View(shape=(4,), dtype="FP32"), "expected views of bytes of one channel or three"),
        (NetworkConfig(edges=3).model_copy(update={"cloud": config().cloud}), VIEW, "one edge, which asks"),
        (NetworkConfig.model_validate({"cloud": {"views": 2}}), VIEW, "expected 'views'"),
        (NetworkConfig.model_validate({"edge": {"input_size": 8}}), VIEW, "network.edge.input_size is 8"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(network: NetworkConfig, view: View, sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        Plan.of(network, [view] * 3, 4)


def test_the_topology_says_what_the_cloud_asks_for() -> None:
    network = DDNN(Plan.of(config(views=2, picture="webp40"), [VIEW] * 3, 4))
    topology = Topology.model_validate_json(network.topology.model_dump_json())
    assert topology.views is not None
    assert (topology.views.codec, topology.views.most, topology.views.pick) == ("webp40", 2, "sure")
    assert [given.what for given in topology.sent(topology.sections[0].tier, "asked")] == ["features", "view"]


def test_views_of_those_that_are_not_picked_change_nothing() -> None:
    network = DDNN(Plan.of(config(views=1, mix=False), [VIEW] * 3, 4)).eval()
    views = [torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8) for _ in range(3)]
    scores, cuts = network.below(views)
    told, present = network.told(views), torch.ones(5, 3, dtype=torch.bool)
    some = torch.from_numpy(picked(scores.detach().numpy(), present.numpy(), 1, "sure"))
    other = torch.where(some.unsqueeze(2), told, told + 7)
    first, second = (network.above(scores, cuts, present, each).cloud for each in (told, other))
    torch.testing.assert_close(first, second)


def test_views_are_shrunk_as_pillow_shrinks_them() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 45), np.uint8)
    found = Shrink(30, 45, 12)(torch.from_numpy(image).float()[None, None])[0, 0]
    wanted = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(found.numpy() - wanted).max() <= 1.0
