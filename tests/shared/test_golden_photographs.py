"""Golden events of large pictures: kept as files, shown as photographs, and served as their views are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import GOLDEN_FILE, Bundle
from ddnn.client import Fleet
from ddnn.data import Dataset
from ddnn.errors import BadBundle
from ddnn.export import bundle as writing
from ddnn.export import sample_data, write_bundle
from ddnn.fleet.events import demonstration, file_of, golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.table import all_to_the_cloud
from ddnn.picture import Picture, decode
from ddnn.training import Config, initial_network

SHAPE = 3, 24, 24
NETWORK = {"device": {"input_size": 12, "filters": [4]}, "cloud": {"takes": "views", "flat": False, "filters": [4]}}


def photographed() -> Dataset:
    data = sample_data([SHAPE] * 2, events=60, uint8=True)
    data.present[::4, 1] = False
    names = np.array([f"test/class {label}/{row}" for row, label in enumerate(data.y)])
    return replace(data, picture=Picture(), names=names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of pictures that count as large."""
    data = photographed()
    network = initial_network(Config.of({"network": NETWORK}), data, seed=0).eval()
    path = tmp_path_factory.mktemp("golden") / "bundle"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writing, "GOLDEN_VALUES", 2 * 3 * 24 * 24)
        patched.setattr(writing, "FEWEST_GOLDEN", 12)
        write_bundle(path, network, data)
    return path


def test_views_are_what_the_kept_files_decode_to_and_names_are_the_sources(folder: Path) -> None:
    bundle, data = Bundle.open(folder), photographed()
    golden = bundle.golden
    assert len(golden["y"]) == 12
    with np.load(folder / GOLDEN_FILE) as kept:
        assert not [name for name in kept if name.startswith("view_")]
    for device in range(2):
        for row in range(12):
            file = golden[f"photograph_{device}"][row]
            np.testing.assert_array_equal(decode(file, SHAPE), golden[f"view_{device}"][row])
    assert golden["name"].tolist() == data.names[golden["index"]].tolist()  # type: ignore[index]


def test_sensors_show_the_files_and_are_answered_as_with_their_views(folder: Path) -> None:
    bundle = Bundle.open(folder)
    data, shown = golden_events(bundle), demonstration(bundle)
    assert shown[0].name.startswith("test/class ")
    assert [view is not None for event in shown for view in event.views] == data.present.flatten().tolist()
    assert all(file_of(view) for event in shown for view in event.views if view is not None)
    with LocalFleet(folder, base_port=0) as running, Fleet(running.device_urls) as fleet:
        running.wait_until_ready(seconds=120)
        for row in range(3):
            of_files = fleet.answer_event(shown[row].views, wait_ms=5000)
            of_views = (
                fleet.answer_event([view[row] for view in data.views], wait_ms=5000)
                if data.present[row].all()
                else None
            )
            assert of_views is None or of_files.label == of_views.label
            assert of_files.devices.tolist() == data.present[row].tolist()


def test_what_all_pictures_in_the_cloud_would_cost_is_said(folder: Path) -> None:
    bundle = Bundle.open(folder)
    golden, views = bundle.golden, bundle.topology.views
    assert views is not None
    right = (golden["cloud_scores"].argmax(axis=1) == golden["y"]).mean()
    size = 2 * views.mean_bytes * golden["present"].sum(axis=1).mean()
    assert all_to_the_cloud(bundle) == (
        f"Every picture to the cloud: accuracy {100 * right:.1f} %, {size:,.0f} bytes an event on both links."
    )


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("photograph_1_ends", None),
        ("photograph_1_ends", np.zeros(12, np.float32)),
        ("photograph_1_ends", np.arange(12)),
        ("photograph_1", np.zeros(10_000, np.uint8)),
        ("name", np.zeros(12)),
        ("name", np.array(["x" * 1000] * 12)),
    ],
)
def test_damaged_files_are_refused_by_name(folder: Path, tmp_path: Path, name: str, array: np.ndarray | None) -> None:
    bundle = Bundle.open(folder)
    with np.load(folder / GOLDEN_FILE) as kept:
        arrays = dict(kept)
    arrays.pop(name)
    if array is not None:
        arrays[name] = array
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    np.savez(tmp_path / GOLDEN_FILE, allow_pickle=False, **arrays)
    sealed = Bundle.seal(tmp_path, bundle.manifest)
    with pytest.raises(BadBundle, match=r"^golden\.npz"):
        _ = Bundle(tmp_path, sealed, bundle.policy).golden
