"""The self-test: sections that do not answer as torch did are refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import GOLDEN_FILE, Bundle, shipped_bundle
from ddnn.errors import BadBundle
from ddnn.golden import TOLERANCE, check_sections
from ddnn.policy import Policy
from ddnn.runtime import Section
from ddnn.types import Array, Tier

EVERYBODY = [(Tier.CLOUD, 0), (Tier.EDGE, 0), *((Tier.DEVICE, n) for n in range(6))]


def sections(bundle: Bundle, tier: Tier, index: int) -> dict[str, Section]:
    return {role: Section(file, threads=1) for role, file in bundle.sections(tier, index).items()}


def rewritten(path: Path, changes: Mapping[str, Array]) -> Bundle:
    """The bundle with other golden answers, sealed again."""
    bundle = Bundle.open(path)
    arrays: dict[str, Any] = {**bundle.golden, **changes}
    np.savez_compressed(path / GOLDEN_FILE, **arrays)
    manifest = Bundle.seal(path, bundle.manifest)
    Policy(bundle=manifest.fingerprint).write(path)
    return Bundle.open(path)


@pytest.mark.parametrize(("tier", "index"), EVERYBODY)
def test_the_golden_answers_of_the_shipped_bundle_hold(tier: Tier, index: int) -> None:
    bundle = Bundle.open(shipped_bundle())
    assert check_sections(bundle, tier, index, sections(bundle, tier, index)) == len(bundle.golden["y"])


def test_only_the_first_events_are_run_when_few_are_asked_for(tiny_bundle: Bundle) -> None:
    assert check_sections(tiny_bundle, Tier.CLOUD, 0, sections(tiny_bundle, Tier.CLOUD, 0), 5) == 5


@pytest.mark.parametrize(
    ("exit", "tier", "file"),
    [
        ("device", Tier.DEVICE, "device-2.onnx"),
        ("local", Tier.EDGE, "local.onnx"),
        ("edge", Tier.EDGE, "edge.onnx"),
        ("cloud", Tier.CLOUD, "cloud.onnx"),
    ],
)
def test_scores_that_are_off_are_refused_with_section_and_event(
    copied_bundle: Path, exit: str, tier: Tier, file: str
) -> None:
    scores = Bundle.open(copied_bundle).golden[f"{exit}_scores"].copy()
    scores[3] += 10 * TOLERANCE
    if exit == "local":  # where nobody took part there is nothing to compare
        assert Bundle.open(copied_bundle).golden["present"][3].any()
    bundle = rewritten(copied_bundle, {f"{exit}_scores": scores})
    index = 2 if tier is Tier.DEVICE else 0
    with pytest.raises(BadBundle, match=rf"^{file}: scores of golden event 3 are off by 0\.001"):
        check_sections(bundle, tier, index, sections(bundle, tier, index))


def test_a_score_that_is_not_a_number_is_off(copied_bundle: Path) -> None:
    scores = Bundle.open(copied_bundle).golden["cloud_scores"].copy()
    scores[1, 0] = np.nan
    bundle = rewritten(copied_bundle, {"cloud_scores": scores})
    with pytest.raises(BadBundle, match=r"^cloud\.onnx: scores of golden event 1"):
        check_sections(bundle, Tier.CLOUD, 0, sections(bundle, Tier.CLOUD, 0))


@pytest.mark.parametrize(
    ("exit", "tier", "file"), [("device", Tier.DEVICE, "device-0.onnx"), ("edge", Tier.EDGE, "edge.onnx")]
)
def test_a_feature_may_differ_only_where_it_is_a_tie(copied_bundle: Path, exit: str, tier: Tier, file: str) -> None:
    golden = Bundle.open(copied_bundle).golden
    features, ties = golden[f"{exit}_features"].copy(), golden[f"{exit}_ties"].copy()
    features[4, 0, 0] ^= 1
    ties[4, 0, 0] |= 1
    tied = rewritten(copied_bundle, {f"{exit}_features": features, f"{exit}_ties": ties})
    check_sections(tied, tier, 0, sections(tied, tier, 0))
    ties[4, 0, 0] &= 0xFE
    wrong = rewritten(copied_bundle, {f"{exit}_features": features, f"{exit}_ties": ties})
    with pytest.raises(BadBundle, match=rf"^{file}: features of golden event 4 differ"):
        check_sections(wrong, tier, 0, sections(wrong, tier, 0))


def test_a_damaged_golden_file_is_refused_by_name(copied_bundle: Path) -> None:
    file = copied_bundle / GOLDEN_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    bundle = Bundle.open(copied_bundle)
    with pytest.raises(BadBundle, match=r"^golden\.npz: "):
        check_sections(bundle, Tier.CLOUD, 0, sections(bundle, Tier.CLOUD, 0))
