"""A section of the user's own: what it is asked for, what it may be, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ddnn.errors import BadConfig
from ddnn.network import DDNN, NetworkConfig, Plan, Wanted
from ddnn.network.sections import Foreign
from ddnn.topology import View
from ddnn.types import Tier

HERE = "test_foreign_sections"
MODULE = '''
"""Sections for tests."""
from torch import nn

class Mine(nn.Module):
    def __init__(self, wanted, width=3):
        super().__init__()
        size, self.wanted = wanted.children * wanted.input[0], wanted
        self.score, self.cut = nn.Linear(size, wanted.classes), nn.Linear(size, width)

    def forward(self, x, present=None):
        x = x if present is None else (x * present[..., None]).flatten(1)
        return (self.score(x), self.cut(x)) if self.wanted.features else self.score(x)

class Raw(Mine):
    raw_view = True

def by_place(wanted):
    by_place.count += 1
    return Mine(wanted, by_place.count)
by_place.count = 0

def scores_alone(wanted):
    return nn.Linear(wanted.input[0], wanted.classes)

def no_module(wanted):
    return {}

def another(wanted, needed):
    return Mine(wanted)

def failing(wanted):
    return nn.Linear(wanted.input[0] + 1, wanted.classes)
'''


@pytest.fixture(autouse=True)
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{HERE}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def network(name: str, *tiers: str, **table: Any) -> DDNN:
    """Two devices, an edge and the cloud; the section called `name` at some of the tiers."""
    tables = {tier: {"section": f"{HERE}:{name}", **table} for tier in tiers}
    config = NetworkConfig.model_validate({"edge_fusion": "mean", **tables})
    return DDNN(Plan.of(config, [View(shape=(5,), dtype="FP32")] * 2, 4))


@pytest.mark.parametrize("tiers", [("device",), ("edge",), ("cloud",), ("device", "edge", "cloud")])
def test_a_section_of_ones_own_stands_at_any_tier(tiers: tuple[str, ...]) -> None:
    made = network("Mine", *tiers)
    scored = made([torch.randn(6, 5)] * 2, torch.ones(6, 2, dtype=torch.bool))
    assert scored.edge is not None
    assert (scored.edge.shape, scored.cloud.shape) == ((6, 1, 4), (6, 4))
    for tier in (Tier.DEVICE, Tier.EDGE):
        features = made.topology.features(tier)
        assert features is not None
        assert (features.shape == (3,)) == (tier in tiers)


def test_its_view_comes_normalised_unless_it_wants_it_raw() -> None:
    views, present = [torch.randn(6, 5)] * 2, torch.ones(6, 2, dtype=torch.bool)
    for name, same in (("Mine", False), ("Raw", True)):
        made = network(name, "device").eval()
        before = made(views, present).cloud
        for normalise in made.inputs:
            normalise.mean.fill_(100.0)
        assert torch.equal(made(views, present).cloud, before) == same


@pytest.mark.parametrize(
    ("name", "tier", "sentence"),
    [
        ("nothing", "device", f"network.device.section is '{HERE}:nothing': the module {HERE} has no 'nothing'"),
        (
            "no_module",
            "edge",
            f"network.edge.section is '{HERE}:no_module', which makes a dict; expected a torch",
        ),
        ("another", "cloud", "which cannot be called as a factory .*needed"),
        ("failing", "device", r"which fails on \(2, 5\): mat1 and mat2"),
        ("scores_alone", "device", r"which gives \(2, 4\) of 2 events; expected scores \(2, 4\) and features \(2, …\)"),
        ("by_place", "device", r"network.device.section gives features of the shapes \(1,\), \(2,\); expected one"),
    ],
)
def test_what_cannot_be_a_section_is_refused_in_a_sentence(name: str, tier: str, sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        network(name, tier)


def test_a_name_that_is_none_is_told_what_there_is() -> None:
    with pytest.raises(BadConfig, match=r"network.edge.section is 'transformer'; expected one of blocks, pack"):
        DDNN(
            Plan.of(
                NetworkConfig.model_validate({"edge": {"section": "transformer"}}), [View(shape=(5,), dtype="FP32")], 4
            )
        )


@pytest.mark.parametrize("name", [f"{HERE}:Mine", "blocks"])
def test_a_section_starts_from_weights_in_a_file(tmp_path: Path, name: str) -> None:
    def device(**table: Any) -> nn.Module:
        config = NetworkConfig.model_validate({"device": {"section": name, **table}})
        made = DDNN(Plan.of(config, [View(shape=(5,), dtype="FP32")], 4)).devices[0]
        return made.section if isinstance(made, Foreign) else made

    kept = {key: tensor + 1 for key, tensor in device().state_dict().items()}
    save_file(kept, tmp_path / "w.safetensors")
    found = device(weights=str(tmp_path / "w.safetensors")).state_dict()
    assert all(torch.equal(tensor, kept[key]) for key, tensor in found.items())


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2)}, tmp_path / "w.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    for file, sentence in (
        ("w.safetensors", r"network.device.weights is .*whose tensors are not those of the section: Missing key"),
        ("no.safetensors", r"network.device.weights is .*which cannot be read"),
        ("none.safetensors", r"network.device.weights is .*which cannot be read"),
    ):
        with pytest.raises(BadConfig, match=sentence):
            network("Mine", "device", weights=str(tmp_path / file))


def test_a_factory_is_told_all_that_it_needs() -> None:
    plan = Plan.of(NetworkConfig(), [View(shape=(3, 8, 8), dtype="UINT8")] * 4, 7)
    device, edge, cloud = plan.device(1), plan.edge(0, (9,)), plan.cloud((2,), 1)
    assert (device.tier, device.input, device.classes, device.features) == (Tier.DEVICE, (3, 8, 8), 7, True)
    assert device.view == View(shape=(3, 8, 8), dtype="UINT8")
    assert (edge.children, edge.input, edge.fusion, edge.features) == (4, (9,), "concat", True)
    assert isinstance(cloud, Wanted)
    assert (cloud.children, cloud.input, cloud.features, cloud.view) == (1, (2,), False, None)
