"""Sections that look at each child by itself run that part once for all presence masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.evaluation import Recorder, joining
from ddnn.export import sample_bundle, sample_data
from ddnn.network import NetworkConfig
from ddnn.onnx_parts import values_of_each
from ddnn.runtime import Section
from ddnn.types import Array

SHAPES = [(3, 12, 12)] * 3
PLAIN: dict[str, Any] = {"backbone": "foreign.cameras:Plain", "cuts": ["blocks.0", "blocks.1"], "shared_weights": True}
VIEWS = {"takes": "views", "backbone": "foreign.cameras:Plain", "backbone_end": "blocks.1", "views": 2}
KINDS: dict[str, dict[str, Any]] = {
    "pooled": PLAIN,
    "maps": PLAIN | {"cloud_fusion": "mean", "edge_fusion": "attention"},
    "views": PLAIN | {"cuts": ["blocks.0"], "backbone_end": "blocks.2", "cloud": VIEWS},
    "joined first": PLAIN | {"join": "features", "edge_fusion": "mean"},
}


@pytest.fixture(params=KINDS)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    config = NetworkConfig.model_validate(KINDS[request.param])
    return sample_bundle(tmp_path / "bundle", SHAPES, network=config, events=30, uint8=True)


def test_masks_give_what_whole_sections_give(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample_data(SHAPES, events=24, uint8=True)
    data.present[::3, 1] = False
    recorder = Recorder(bundle, data)
    monkeypatch.setattr(joining, "values_of_each", lambda content: ())
    whole = Recorder(bundle, data)
    for mask in ([True, True, True], [True, False, True], [False, True, False]):
        present = np.broadcast_to(np.array(mask), (24, 3))
        one, other = recorder.everything(present), whole.everything(present)
        for name in ("local_scores", "edge_scores", "cloud_scores"):
            np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_what_a_section_makes_of_each_child_is_made_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    data, ran = sample_data(SHAPES, events=24, uint8=True), list[str]()
    run = Section.run

    def counted(section: Section, **inputs: Array) -> dict[str, Array]:
        ran.extend(section.inputs)
        return run(section, **inputs)

    recorder = Recorder(bundle, data)
    recorder.scores()
    monkeypatch.setattr(Section, "run", counted)
    recorder.scores(np.broadcast_to(np.array([True, False, True]), (24, 3)))
    apart = [file.name for file in sorted(bundle.path.glob("*.onnx")) if values_of_each(file.read_bytes())]
    assert "view" not in ran
    assert ("features" in ran) == (not apart)
    assert apart in (["cloud.onnx", "edge.onnx"], [])


def test_without_room_whole_sections_run(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample_data(SHAPES, events=24, uint8=True)
    wanted = Recorder(bundle, data).scores()
    monkeypatch.setattr(joining, "_ROOM", 100)
    np.testing.assert_allclose(Recorder(bundle, data).scores().cloud, wanted.cloud, atol=1e-5)
