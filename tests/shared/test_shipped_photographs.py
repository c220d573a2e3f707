"""The second shipped bundle, of photographs: what it promises, held; and what a person sees who starts it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle, named
from ddnn.configs import config_file
from ddnn.evaluation import decide, record
from ddnn.fleet.events import demonstration, file_of, golden_events
from ddnn.golden import check_sections
from ddnn.runtime import Section
from ddnn.training import Config
from ddnn.types import Exit, Tier

MOST_BYTES = 12_000_000
A_VIEW = 300  #: bytes of features, at most
LICENCE = "LICENSE-photographs.txt"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(named(Path("grocery6")))


def test_it_verifies_is_small_and_has_the_photographs_licence(bundle: Bundle) -> None:
    bundle.verify()
    files = {file.name for file in bundle.path.iterdir()}
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) <= MOST_BYTES
    assert files == {*bundle.manifest.files, "manifest.json", "policy.json", LICENCE}
    licence = (bundle.path / LICENCE).read_text()
    assert licence.startswith("MIT License")
    assert "THE SOFTWARE IS PROVIDED" in licence


def test_its_manifest_says_how_to_make_it_again(bundle: Bundle) -> None:
    training = bundle.manifest.training
    assert training.command.startswith("ddnn train grocery6 --size 192 --config grocery6")
    assert Config.of(training.config) == Config.read(config_file("grocery6")), "train the bundle again"
    assert training.data["split"] == {"train": 371, "validation": 86, "test": 379}


def test_each_tier_knows_more_than_the_one_below(bundle: Bundle) -> None:
    exits = {name: found["accuracy"] for name, found in bundle.manifest.training.test["exits"].items() if found}
    assert exits["local"] >= 0.66
    assert exits["local"] < exits["edge"] < exits["cloud"]
    assert exits["cloud"] > exits["local"] + 0.05
    features = bundle.topology.features(Tier.DEVICE)
    assert features is not None
    assert features.bytes <= A_VIEW


def test_its_sections_answer_golden_photographs_as_torch_did(bundle: Bundle) -> None:
    events = golden_events(bundle)
    assert all(str(name).startswith("test/") for name in events.names.tolist())  # type: ignore[union-attr]
    for tier in Tier:
        sections = {role: Section(file) for role, file in bundle.sections(tier).items()}
        assert check_sections(bundle, tier, 0, sections, events=3) == 3


def test_its_demonstration_is_of_real_files_and_takes_all_three_tiers(bundle: Bundle) -> None:
    shown = demonstration(bundle)
    assert all(file_of(view) for event in shown for view in event.views if view is not None)
    decisions = decide(record(bundle, golden_events(bundle)), bundle.policy)
    assert set(np.unique(decisions.exit)) == {Exit.LOCAL.rank, Exit.EDGE.rank, Exit.CLOUD.rank}


@pytest.mark.slow
def test_up_shows_photographs_by_their_folders_and_what_the_cloud_alone_would_cost() -> None:
    command = [sys.executable, "-m", "ddnn", "up", "grocery6", "--base-port", "0", "--count", "4", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "grocery6 is up: 8 processes" in done.stdout
    assert done.stdout.count("test/") + done.stdout.count("…") >= 4
    assert "an event, the photographs are" in done.stdout
    assert "Every picture to the cloud: accuracy" in done.stdout
