"""What can be rebuilt of the views from what the links carry, and how that is measured."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.data import Dataset, load
from ddnn.types import Tier
from ddnn_lab.privacy import carried, psnr, ssim

MakeData = Callable[..., Dataset]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ddnn", "bench", "privacy", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_psnr_and_ssim_are_their_definitions() -> None:
    random = np.random.default_rng(0)
    true = [random.random((4, 1, 12, 12), np.float32)]
    here = np.ones((4, 1), np.bool_)
    assert psnr(true, true, here) is None
    assert ssim(true, true, here) == pytest.approx(1)
    off = [np.clip(true[0], 0.2, 0.8) + np.float32(0.1)]
    error = float(np.square(off[0] - true[0]).mean())
    assert psnr(true, off, here) == pytest.approx(10 * np.log10(1 / error), rel=1e-4)
    # Of two flat pictures only their means are compared: (2ab + c) / (a² + b² + c).
    dark, light = ([np.full((1, 1, 12, 12), value, np.float32)] for value in (0.2, 0.6))
    expected = (2 * 0.2 * 0.6 + 0.0001) / (0.2**2 + 0.6**2 + 0.0001)
    assert ssim(dark, light, here[:1]) == pytest.approx(expected, rel=1e-4)
    assert ssim([np.zeros((4, 3), np.float32)], [np.zeros((4, 3), np.float32)], here) is None


def test_who_is_absent_does_not_count() -> None:
    true, other = np.zeros((2, 1, 8, 8), np.float32), np.zeros((2, 1, 8, 8), np.float32)
    other[1] = 1
    here = np.array([[True], [False]])
    assert psnr([true], [other], here) is None
    assert ssim([true], [other], here) == pytest.approx(1)


def test_a_link_carries_what_the_tiers_send(tiny_bundle: Bundle) -> None:
    data = load("synthetic", seed=3).subset("test")
    links, topology = carried(tiny_bundle, data), tiny_bundle.topology
    names = [link.name for link in links]
    below = ["device → edge: scores, float32", "device → edge: features, bits1", "device → edge: both"]
    assert names == [*below, "edge → cloud: features, bits1"]
    own, up = topology.features(Tier.DEVICE), topology.features(Tier.EDGE)
    assert own
    assert up
    classes = len(tiny_bundle.manifest.classes)
    assert [link.bytes for link in links] == [6 * 4 * classes, 6 * own.bytes, 6 * (4 * classes + own.bytes), up.bytes]
    assert links[0].values.shape == (len(data), 6 * classes)
    assert set(np.unique(links[1].values)) == {0, 1}
    gone = ~data.present[:, 0]
    assert not links[1].values.reshape(len(data), 6, -1)[gone, 0].any()


@pytest.mark.long
@pytest.mark.slow
def test_a_study_leaves_a_report_and_its_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_bundle: Bundle
) -> None:
    words = (str(tiny_bundle.path), "synthetic", "--events", "120", "--json")
    assert run(monkeypatch, *words, "--out", str(tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "results.json").read_text())
    assert found["links"][0]["link"] == "the class alone"
    assert len(found["links"]) == 5
    for link in found["links"]:
        assert link["psnr"] > 0
        assert 0 <= link["accuracy"] <= 1
    page = (tmp_path / "report.md").read_text()
    assert "device → edge: features, bits1" in page
    assert "views.png" in page
    assert (tmp_path / "views.png").stat().st_size > 1000
