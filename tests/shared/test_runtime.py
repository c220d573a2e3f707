"""A section in ONNX Runtime, and the CPUs it may use."""

import os
from pathlib import Path

import numpy as np
import pytest

from ddnn import runtime
from ddnn.bundle import Bundle
from ddnn.errors import BadBundle
from ddnn.runtime import Section, cpu_quota, with_threads
from ddnn.types import Tier

AVAILABLE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", AVAILABLE),
        ("100000 100000\n", 1),
        ("150000 100000\n", 1),  # a thread more than the quota would be throttled
        ("20000 100000\n", 1),
        ("100000000 100000\n", AVAILABLE),
        ("200000 100000\n", min(2, AVAILABLE)),
        ("", AVAILABLE),
        ("nonsense\n", AVAILABLE),
        ("some thing\n", AVAILABLE),
        ("100000 0\n", AVAILABLE),
    ],
)
def test_the_quota_of_the_container_counts(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cpu_quota(tmp_path) == expected


def test_without_a_container_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == AVAILABLE


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x0a" * 50])
def test_a_file_that_is_no_onnx_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(BadBundle, match=r"^broken\.onnx: ONNX Runtime cannot load it"):
        Section(tmp_path / "broken.onnx")


def test_a_section_takes_any_batch_and_names_its_outputs_as_the_contract_does(tiny_bundle: Bundle) -> None:
    section = Section(tiny_bundle.sections(Tier.EDGE)["section"], threads=1)
    assert set(section.inputs) == {"features", "present"}
    assert set(section.outputs) == {"scores", "features"}
    device, edge = (tiny_bundle.topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE))
    assert device is not None
    assert edge is not None
    for rows in (1, 3):
        features = np.zeros((rows, 6, device.values), np.uint8)
        outputs = section.run(features=features, present=np.ones((rows, 6), np.bool_))
        assert outputs["scores"].shape == (rows, len(tiny_bundle.manifest.classes))
        assert outputs["features"].shape == (rows, edge.values)
        assert set(np.unique(outputs["features"])) <= {0, 1}


def test_a_row_does_not_depend_on_the_others(tiny_bundle: Bundle) -> None:
    section = Section(tiny_bundle.sections(Tier.DEVICE, 0)["section"], threads=1)
    views = tiny_bundle.golden["view_0"][:5]
    together = section.run(view=views)
    for row in range(5):
        alone = section.run(view=views[row : row + 1])
        assert np.allclose(alone["scores"][0], together["scores"][row], atol=1e-5)
        assert (alone["features"][0] == together["features"][row]).all()


def test_an_input_in_another_memory_order_is_the_same_input(tiny_bundle: Bundle) -> None:
    section = Section(tiny_bundle.sections(Tier.DEVICE, 0)["section"], threads=1)
    views = tiny_bundle.golden["view_0"][:4]
    turned = np.asfortranarray(views)
    assert (section.run(view=turned)["scores"] == section.run(view=views)["scores"]).all()


def test_a_quick_section_keeps_its_one_thread_and_a_slow_one_gets_more_only_if_it_is_quicker_with_them(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = Section(tiny_bundle.sections(Tier.DEVICE, 0)["section"], threads=1)
    inputs = {"view": tiny_bundle.golden["view_0"][:1]}
    monkeypatch.setattr(runtime, "cpu_quota", lambda: 2)
    times = {id(section): 0.001}
    monkeypatch.setattr(runtime, "_seconds", lambda asked, inputs: times.get(id(asked), 0.009))
    assert with_threads(section, inputs) is section
    times[id(section)] = 0.010  # and 9 ms with two threads, which is not worth a thread
    assert with_threads(section, inputs) is section
    times[id(section)] = 0.020
    wide = with_threads(section, inputs)
    assert wide is not section
    assert np.allclose(wide.run(**inputs)["scores"], section.run(**inputs)["scores"], atol=1e-6)
    monkeypatch.setattr(runtime, "cpu_quota", lambda: 1)
    assert with_threads(section, inputs) is section


def test_large_inputs_go_through_part_by_part_to_the_same_end(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = Section(tiny_bundle.sections(Tier.EDGE)["section"], threads=1)
    device = tiny_bundle.topology.features(Tier.DEVICE)
    assert device is not None
    chance = np.random.default_rng(0)
    inputs = {
        "features": chance.integers(0, 2, (7, 6, device.values)).astype(np.uint8),
        "present": chance.random((7, 6)) < 0.7,
    }
    whole = section.run(**inputs)
    monkeypatch.setattr(runtime, "_MOST_NUMBERS", 2 * 6 * (device.values + 1))
    for name, found in section.run(**inputs).items():
        np.testing.assert_allclose(found, whole[name], atol=1e-6)
