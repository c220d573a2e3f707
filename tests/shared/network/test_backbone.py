"""A network of the user's own, cut at named modules: what its pieces are, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddnn.bundle import WEIGHTS_FILE
from ddnn.errors import BadConfig
from ddnn.export import sample_data
from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.network.backbone import uncut
from ddnn.network.pieces import OfBackbone
from ddnn.pipeline import make_bundle
from ddnn.topology import View
from ddnn.training import Config, initial_network
from ddnn.types import Tier
from foreign.cameras import Plain

CUTS = "blocks.0", "blocks.1"
VIEW = View(shape=(3, 12, 12), dtype="UINT8")


def config(backbone: str = "Plain", **keys: Any) -> NetworkConfig:
    given = {"backbone": f"foreign.cameras:{backbone}", "cuts": CUTS, "input_mean": [128.0], "input_spread": [64.0]}
    return Config.of({"network": {**given, **keys}}).network


def network(backbone: str = "Plain", devices: int = 2, view: View = VIEW, **keys: Any) -> DDNN:
    torch.manual_seed(0)
    return DDNN(Plan.of(config(backbone, **keys), [view] * devices, 3)).eval()


def views(devices: int = 2, events: int = 5) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randint(0, 256, (events, 3, 12, 12), dtype=torch.uint8) for _ in range(devices)]


def exact(**keys: Any) -> dict[str, Any]:
    return {"device": {"cut_codec": "float32"}, "edge": {"cut_codec": "float32"}, **keys}


@pytest.mark.parametrize("join", ["pooled", "features"])
@pytest.mark.parametrize("fusion", ["mean", "max", "attention", "concat"])
def test_the_pieces_of_one_device_together_are_the_network(join: str, fusion: str) -> None:
    made = network(devices=1, **exact(join=join, edge_fusion=fusion, cloud_fusion=fusion))
    whole = uncut(made.plan.config, made.state_dict())
    seen = views(1)
    with torch.no_grad():
        cloud = made(seen, torch.ones(5, 1, dtype=torch.bool)).cloud
        torch.testing.assert_close(cloud, whole((seen[0].float() - 128) / 64), rtol=1e-5, atol=1e-5)


def test_the_number_of_views_may_be_had_anywhere() -> None:
    made = network("Counted", devices=1, **exact())
    whole, seen = uncut(made.plan.config, made.state_dict()), views(1)
    with torch.no_grad():
        cloud = made(seen, torch.ones(5, 1, dtype=torch.bool)).cloud
        torch.testing.assert_close(cloud, whole((seen[0].float() - 128) / 64), rtol=1e-5, atol=1e-5)


def test_weights_keep_their_names_and_each_is_in_one_section() -> None:
    made = network(shared_weights=True)
    names = [name.split(".body.")[1] for name in made.state_dict() if ".body." in name]
    assert sorted(names) == sorted(Plain().state_dict())


@pytest.mark.parametrize("join", ["pooled", "features"])
@pytest.mark.parametrize("fusion", ["mean", "max", "attention", "concat"])
def test_an_absent_view_changes_nothing(join: str, fusion: str) -> None:
    made = network(devices=3, join=join, edge_fusion=fusion, local_fusion=fusion)
    present = torch.tensor([[True, False, True]]).expand(5, 3)
    seen = views(3)
    with torch.no_grad():
        before = made(seen, present)
        after = made([seen[0], 255 - seen[1], seen[2]], present)
    assert before.cloud.equal(after.cloud)
    assert before.edge is not None
    assert after.edge is not None
    assert before.edge.equal(after.edge)


def test_a_bottleneck_sends_as_many_channels_as_it_says() -> None:
    made = network(device={"bottleneck": 4}, edge={"bottleneck": 3, "cut_codec": "bits2"})
    device, edge = (made.topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE))
    assert device is not None
    assert edge is not None
    assert (device.shape, device.bytes) == ((4, 6, 6), 4 * 36 // 8)
    assert (edge.shape, edge.bytes) == ((3, 6, 6), 3 * 36 * 2 // 8)


def test_without_edge_sections_there_is_one_cut_and_of_raw_views_none() -> None:
    assert network(edge_section=False, cuts=("blocks.0",)).topology.features(Tier.DEVICE) is not None
    raw = network(device_section=False, edge_section=False, cuts=(), join="pooled", cloud_fusion="mean")
    seen, whole = views(), uncut(raw.plan.config, raw.state_dict())
    with torch.no_grad():
        each = [whole((view.float() - 128) / 64) for view in seen]
        found = raw(seen, torch.ones(5, 2, dtype=torch.bool)).cloud
    torch.testing.assert_close(found, (each[0] + each[1]) / 2)


@pytest.mark.parametrize(("learn", "learning"), [("all", 20), ("nothing", 0), ("blocks.1", 10), ("blocks.0", 14)])
def test_what_is_before_the_first_that_learns_does_not(learn: str, learning: int) -> None:
    made = network(shared_weights=True, learn=learn)
    body = {name: weight for name, weight in made.named_parameters() if ".body." in name}
    if learn == "all":
        assert all(weight.requires_grad for weight in body.values())
        return
    assert sum(weight.requires_grad for weight in body.values()) == learning
    before = {
        name: tensor.clone() for name, tensor in made.state_dict().items() if "running" in name and "body" in name
    }
    made.train()(views(), torch.ones(5, 2, dtype=torch.bool))
    moved = {name for name, tensor in before.items() if not tensor.equal(made.state_dict()[name])}
    assert moved == {
        name
        for name in before
        if body[name.replace("running_mean", "weight").replace("running_var", "weight")].requires_grad
    }


def test_an_exit_may_see_covariances_of_its_channels() -> None:
    made = network(device={"pool": "covariance"})
    device = made.devices[0]
    assert isinstance(device, OfBackbone)
    with torch.no_grad():
        maps = device.seen(views()[0])
        found = device.pool(maps)
    places = maps.flatten(2)
    wanted = torch.stack([torch.cov(each, correction=0)[tuple(torch.triu_indices(8, 8))] for each in places])
    torch.testing.assert_close(found, torch.cat([places.mean(dim=2), wanted], dim=1))


def test_an_end_leaves_the_last_layer_out_and_makes_a_new_one() -> None:
    made = network(backbone_end="blocks.2", cuts=CUTS)
    assert isinstance(made.cloud, OfBackbone)
    assert made.cloud.shape == (8, 6, 6)
    assert not any("score" in name for name in made.state_dict() if ".body." in name)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    save_file((state := Plain().state_dict()), tmp_path / "plain.safetensors")
    made = network(backbone_weights=str(tmp_path / "plain.safetensors"))
    whole = uncut(made.plan.config, made.state_dict()).state_dict()
    assert all(whole[name].equal(state[name]) for name in state)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"backbone": "Crossed"}, "'blocks.1' is no clean cut .* as blocks.0 crosses it too"),
        ({"backbone": "Twice"}, "the weights of blocks.0 act on both sides of 'blocks.0'|runs 'blocks.0' 2 times"),
        ({"backbone": "Sized"}, "'blocks.1' is no clean cut .* as the input crosses it too"),
        ({"backbone": "Branching"}, "cannot be traced by torch.fx"),
        ({"backbone": "Two"}, "expected a network.backbone_end"),
        ({"backbone": "Needy"}, "cannot be called without arguments"),
        ({"backbone": "number"}, "makes a int; expected a torch module"),
        ({"backbone": "Nothing"}, "has no 'Nothing'"),
        ({"cuts": ("blocks.0", "blocks.7")}, "runs nothing called 'blocks.7'; expected a module's name, such as stem"),
        ({"cuts": ("blocks.1", "blocks.0")}, "'blocks.0' does not come after 'blocks.1'"),
        ({"cuts": ("blocks.0",)}, "cuts has 1 names; expected 2"),
        ({"learn": "blocks.9"}, "runs nothing called 'blocks.9'"),
        ({"backbone_weights": "imagenet"}, "expected a .safetensors file, or a built-in backbone"),
        ({"backbone_weights": "none.safetensors"}, "cannot be read"),
        ({"input_spread": ()}, "input_mean has 1 numbers, input_spread 0"),
        ({"input_mean": (1.0, 2.0), "input_spread": (1.0, 2.0)}, "input_mean has 2 numbers; expected one, or 3"),
        ({"view": View(shape=(1, 12, 12), dtype="UINT8")}, r"fails on values of the shape \(2, 1, 12, 12\)"),
    ],
)
def test_what_does_not_fit_is_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        network(**keys)


@pytest.mark.parametrize("keys", [{"cuts": ("a", "b")}, {"backbone_end": "a"}, {"backbone_weights": "none"}])
def test_keys_of_a_backbone_without_one_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=r"without network\.backbone"):
        Plan.of(NetworkConfig(**keys), [VIEW], 3)


def test_efficientnet_lite0_is_cut_by_its_names_and_normalises_bytes_as_its_weights_expect() -> None:
    view = View(shape=(3, 64, 64), dtype="UINT8")
    keys: dict[str, Any] = {"cuts": ("blocks.4", "blocks.9"), "learn": "nothing", "backbone_weights": "none"}
    made = DDNN(Plan.of(NetworkConfig(backbone="efficientnet_lite0", shared_weights=True, **keys), [view] * 2, 5))
    device = made.topology.features(Tier.DEVICE)
    assert device is not None
    assert device.shape == (40, 8, 8)
    assert (made.inputs[0].mean.flatten().tolist(), made.inputs[0].spread.flatten().tolist()) == (
        [127.0] * 3,
        [128.0] * 3,
    )


@pytest.mark.long
def test_what_comes_with_a_built_in_backbone_is_not_kept_in_the_bundle_and_training_goes_on_from_it(
    tmp_path: Path,
) -> None:
    data = sample_data([(3, 32, 32)] * 2, events=30, uint8=True)
    end = {"backbone": "efficientnet_lite0", "backbone_end": "blocks.2", "learn": "nothing"}
    network = end | {"cuts": ["blocks.0"], "shared_weights": True, "cloud": end | {"takes": "views"}}
    still = {"shift": 0, "rotate": 0, "scale": 0, "warp": 0}
    config = Config.of({"network": network, "training": {"epochs": 1, "batch": 8} | still})
    first = make_bundle(data, config, tmp_path / "first", yardstick=False, tested=False)
    kept = load_file(first.path / WEIGHTS_FILE)
    assert kept
    assert not [name for name in kept if ".body." in name]
    made = initial_network(config, data, seed=1)
    assert {name for name in made.state_dict() if name not in kept} == made.built_in
    second = make_bundle(data, config, tmp_path / "second", initial=first, yardstick=False, tested=False)
    assert load_file(second.path / WEIGHTS_FILE).keys() == kept.keys()
    learning = Config.of({"network": network | {"learn": "all"}, "training": {"epochs": 1}})
    assert {name.split(".")[0] for name in initial_network(learning, data, seed=1).built_in} == {"cloud"}
