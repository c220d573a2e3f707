"""A cut costs no more than the raw views it stands for, at a device and at the edge, whatever the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.configs import merged
from ddnn.data import Dataset, load
from ddnn.errors import BadConfig
from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.recipe.starts import Looks, changes, passing, start
from ddnn.topology import Topology, View
from ddnn.training import Config, initial_network
from ddnn.types import Tier

Kind = tuple[tuple[tuple[int, ...], str], ...]
KINDS: dict[str, Kind] = {
    "bytes, 8 a vector": ((((8,), "u1"),) * 2),
    "unequal vectors": (((1,), "f4"), ((3,), "f4"), ((2,), "f4")),
    "images of 1x3x3 bytes": ((((1, 3, 3), "u1"),) * 2),
    "series of 1x4 bytes": ((((1, 4), "u1"),) * 2),
    "one byte a device": ((((1,), "u1"),) * 3),
    "one number, one device": (((1,), "f4"),),
    "a pixel": ((((1, 1, 1), "u1"),) * 2),
    "a camera and a thermometer": (((3, 16, 16), "u1"), ((1,), "f4")),
    "a series, a vector and a byte": (((2, 40), "f4"), ((70,), "f4"), ((1,), "u1")),
    "bytes beside numbers": (((4,), "u1"), ((4,), "f4")),
    "images of bytes beside numbers": (((1, 2, 2), "u1"), ((1, 2, 2), "f4")),
    "128 bytes": ((((128,), "u1"),) * 2),
    "33 numbers": ((((33,), "f4"),) * 2),
}
WANTED: dict[str, Any] = {
    "the recipe's": None,
    "the default": {},
    "no edge section": {"edge_section": False},
    "two edges": {"edges": 2},
    "means": {"edge_fusion": "mean", "cloud_fusion": "mean"},
    "four bits": {tier: {"cut_codec": "bits4"} for tier in ("device", "edge")},
}


@pytest.fixture
def data(tmp_path: Path) -> Callable[[Kind], Dataset]:
    def made(kind: Kind) -> Dataset:
        random, arrays = np.random.default_rng(0), dict[str, Any]()
        for index, (shape, dtype) in enumerate(kind):
            values = random.normal(100, 30, (90, *shape))
            arrays[f"X_{index}"] = values.clip(0, 255).astype(np.uint8) if dtype == "u1" else values.astype(dtype)
        np.savez(tmp_path / "made.npz", y=np.arange(90) % 3, **arrays)
        return load(str(tmp_path / "made.npz"))

    return made


def costs(topology: Topology) -> list[tuple[int, int]]:
    """Of each device and edge, bytes of an event that go up, and those of its raw views."""
    found = []
    for tier, groups in (
        (Tier.DEVICE, [(device,) for device in range(len(topology.devices))]),
        (Tier.EDGE, [edge.devices for edge in topology.edges]),
    ):
        for given in (*topology.sent(tier), *topology.sent(tier, "asked")):
            for index, group in enumerate(groups if given.what != "scores" else ()):
                senders = (index,) if given.child is tier else group
                raw = sum(topology.devices[device].view.bytes for device in group)
                found.append((sum(topology.bytes(given, child, 3) for child in senders), raw))
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_a_cut_costs_no_more_than_the_raw_views(
    data: Callable[[Kind], Dataset], kind: Kind, wanted: dict[str, Any] | None
) -> None:
    events = data(kind)
    if wanted == {"edges": 2} and len(kind) < 2:
        return
    config = start(Looks.of(events)) if wanted is None else Config.of({"network": wanted})
    topology = initial_network(config, events, 0).topology
    assert all(sent <= raw for sent, raw in costs(topology)), costs(topology)


@pytest.mark.parametrize(
    ("kind", "device", "edge"),
    [
        ("bytes, 8 a vector", [8, 8], 16),
        ("unequal vectors", [2, 6, 4], 12),
        ("series of 1x4 bytes", [4, 4], 8),
        ("images of 1x3x3 bytes", [8, 8], 18),
        ("a camera and a thermometer", [16, 4], 64),
    ],
)
def test_what_goes_up_is_as_long_as_the_view_of_its_device(
    data: Callable[[Kind], Dataset], kind: str, device: list[int], edge: int
) -> None:
    events = data(KINDS[kind])
    topology = initial_network(start(Looks.of(events)), events, 0).topology
    found = [sent for sent, _ in costs(topology)]
    assert (found[:-1], found[-1]) == (device, edge)
    assert Topology.model_validate(topology.model_dump(mode="json")) == topology


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_series_with_spectra_are_sent_themselves_only_where_that_costs_no_more(
    data: Callable[[Kind], Dataset], dtype: str
) -> None:
    events = data((((2, 80), dtype),) * 2)
    looks = Looks.of(events)
    spectra = [change for stage in changes(looks, start(looks)) for change in stage if "spectra" in change.name]
    config = Config.of(merged(start(looks).model_dump(mode="json"), spectra[0].document))
    found = passing(looks, config)
    assert len(found) == (dtype == "f4")
    for change in found:
        made = Config.of(merged(config.model_dump(mode="json"), change.document))
        assert all(sent <= raw for sent, raw in costs(initial_network(made, events, 0).topology))


@pytest.mark.parametrize(
    ("size", "table", "sentence"),
    [
        (
            8,
            {"pass_on": True, "flat": True, "cut_codec": "float16"},
            "network.device sends 16 bytes of float16 for raw views of 8; expected at most as many",
        ),
        (
            3,
            {"cut_codec": "float32"},
            "cut_codec is 'float32', 32 bits an element, and the raw view has 24; expected fewer",
        ),
        (8, {"flat": True, "widths": [99], "tail": False}, "network.device sends 13 bytes of bits1 for raw views of 8"),
    ],
)
def test_what_would_cost_more_all_the_same_is_refused(size: int, table: dict[str, Any], sentence: str) -> None:
    config = NetworkConfig.model_validate({"device": table})
    with pytest.raises(BadConfig, match=sentence):
        DDNN(Plan.of(config, [View(shape=(size,), dtype="UINT8")] * 2, 3))


def test_unequal_views_are_passed_on_only_to_be_put_end_to_end() -> None:
    passing = {"pass_on": True, "flat": True, "cut_codec": "float16"}
    config = NetworkConfig.model_validate({"device": passing, "edge_fusion": "mean"})
    views = [View(shape=(size,), dtype="FP32") for size in (1, 3)]
    with pytest.raises(BadConfig, match=r"features of the shapes \(1,\), \(3,\); expected one, or vectors that concat"):
        DDNN(Plan.of(config, views, 3))
