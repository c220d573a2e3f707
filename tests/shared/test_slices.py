"""A tier's slice of a bundle: a fraction of its bytes, under the same manifest, and served as the whole is."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import ddnn_cloud.app
import ddnn_device.app
import ddnn_edge.app
from ddnn.bundle import GOLDEN_FILE, SLICE_FILE, Bundle, shipped_bundle
from ddnn.errors import BadBundle, BadConfig, BadInput
from ddnn.export.bundle import sample_bundle
from ddnn.golden import score_range
from ddnn.parts import tier_named, tiers_of
from ddnn.seal import write_sealed
from ddnn.serving.service import Service
from ddnn.settings import Settings
from ddnn.signing import TrustedKeys, make_key, read_key
from ddnn.slices import mark, slice_bundle
from ddnn.types import Tier

MAKE = {Tier.DEVICE: ddnn_device.app.make_service, Tier.EDGE: ddnn_edge.app.make_service}


def served(folder: Path, tier: Tier, index: int) -> Service:
    settings = Settings.load(bundle=folder, index=index, threads=1)
    return ddnn_cloud.app.make_service(settings) if tier is Tier.CLOUD else MAKE[tier](settings)


def test_every_tier_serves_its_slice_as_it_serves_the_whole(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for tier, index in tiers_of(tiny_bundle.topology):
        folder = tmp_path / f"{tier}-{index}"
        size = slice_bundle(tiny_bundle, tier, index, folder)
        part = Bundle.open(folder)
        part.verify()
        assert part.part == (tier, index)
        assert part.fingerprint == tiny_bundle.fingerprint
        assert size == sum(file.stat().st_size for file in folder.iterdir())
        assert not any(file.name.startswith("weights") or file.name == GOLDEN_FILE for file in folder.iterdir())
        own, whole = served(folder, tier, index), served(tiny_bundle.path, tier, index)
        assert own.metadata() == whole.metadata()
        assert own.request_example["inputs"][0] == whole.request_example["inputs"][0]


def test_an_edge_takes_the_same_scores_by_its_slice(tiny_bundle: Bundle, tmp_path: Path) -> None:
    slice_bundle(tiny_bundle, Tier.EDGE, 0, tmp_path / "edge")
    part = Bundle.open(tmp_path / "edge")
    assert [score_range(part, device=n) for n in range(6)] == [score_range(tiny_bundle, device=n) for n in range(6)]
    assert not [name for name in part.golden if name.startswith("view")]


def test_a_device_gets_its_own_views_and_a_few_events(tiny_bundle: Bundle, tmp_path: Path) -> None:
    slice_bundle(tiny_bundle, Tier.DEVICE, 4, tmp_path / "device")
    golden = Bundle.open(tmp_path / "device").golden
    assert [name for name in golden if name.startswith("view")] == ["view_4"]
    assert len(golden["y"]) == 12 < len(tiny_bundle.golden["y"])
    np.testing.assert_array_equal(golden["view_4"], tiny_bundle.golden["view_4"][:12])


def test_the_slice_of_a_device_is_small_where_the_bundle_is_not(tmp_path: Path) -> None:
    whole = sample_bundle(tmp_path / "whole", [(3, 32, 32)] * 6, events=150, uint8=True)
    size = slice_bundle(whole, Tier.DEVICE, 0, tmp_path / "device")
    assert size < sum(file.stat().st_size for file in whole.path.iterdir()) / 5


def test_of_a_bundle_made_before_there_were_parts_a_tier_gets_all_golden_events(tmp_path: Path) -> None:
    bundle = Bundle.open(shipped_bundle())
    slice_bundle(bundle, Tier.DEVICE, 0, tmp_path / "device")
    part = Bundle.open(tmp_path / "device")
    part.verify()
    assert len(part.golden["y"]) == len(bundle.golden["y"])
    assert served(tmp_path / "device", Tier.DEVICE, 0).metadata() == served(bundle.path, Tier.DEVICE, 0).metadata()


def test_a_slice_is_verified_by_the_keys_of_the_whole(copied_bundle: Path, tmp_path: Path) -> None:
    mine, other = (TrustedKeys.read([make_key(tmp_path / f"{name}.pem")]) for name in ("mine", "other"))
    Bundle.open(copied_bundle).sign(read_key(tmp_path / "mine.pem"))
    slice_bundle(Bundle.open(copied_bundle), Tier.DEVICE, 1, tmp_path / "slice")
    Bundle.open(tmp_path / "slice", mine).verify()
    with pytest.raises(BadBundle, match="is signed by"):
        Bundle.open(tmp_path / "slice", other)


@pytest.mark.parametrize("name", ["device-1.onnx", "golden-device-1.npz"])
def test_a_byte_that_differs_is_found(tiny_bundle: Bundle, tmp_path: Path, name: str) -> None:
    slice_bundle(tiny_bundle, Tier.DEVICE, 1, tmp_path / "slice")
    file = tmp_path / "slice" / name
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(BadBundle, match=f"{name}: does not match"):
        served(tmp_path / "slice", Tier.DEVICE, 1)


def test_another_tiers_slice_is_refused_with_both_names(tiny_bundle: Bundle, tmp_path: Path) -> None:
    slice_bundle(tiny_bundle, Tier.DEVICE, 1, tmp_path / "slice")
    with pytest.raises(BadConfig, match="is the slice of device-1; expected that of device-2, or the whole"):
        served(tmp_path / "slice", Tier.DEVICE, 2)
    with pytest.raises(BadInput, match="is itself the slice of device-1"):
        slice_bundle(Bundle.open(tmp_path / "slice"), Tier.DEVICE, 1, tmp_path / "again")


def test_the_mark_of_another_bundle_or_tier_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle.path, tmp_path / "slice"))
    mark(folder, "0" * 64, Tier.DEVICE, 0)
    with pytest.raises(BadBundle, match="of another bundle"):
        Bundle.open(folder).verify()
    write_sealed(folder / SLICE_FILE, {"bundle": tiny_bundle.fingerprint, "tier": "device", "index": 9}, "checksum")
    with pytest.raises(BadBundle, match="device-9"):
        Bundle.open(folder).verify()


def test_tiers_are_named_as_people_do(tiny_bundle: Bundle) -> None:
    assert tier_named("edge", tiny_bundle.topology) == tier_named("edge-0", tiny_bundle.topology) == (Tier.EDGE, 0)
    with pytest.raises(BadInput, match="expected one of cloud-0, edge-0, device-0, device-1"):
        tier_named("device-9", tiny_bundle.topology)


def test_an_existing_folder_is_left_alone(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="expected a new folder"):
        slice_bundle(tiny_bundle, Tier.CLOUD, 0, tmp_path)
