"""Few bytes on real processes: views of unequal lengths each as long as it is, scores in 8 bits."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.configs import merged
from ddnn.data import load
from ddnn.evaluation import decide, judge, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.served import ask
from ddnn.fleet.processes import LocalFleet
from ddnn.pipeline import make_bundle
from ddnn.policy import Thresholds
from ddnn.recipe import find
from ddnn.training import Config
from ddnn.types import Exit

SIZES, CLASSES = (1, 3, 8), 8


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nodes of 1, 3 and 8 numbers, and eight classes that none of them tells alone."""
    random, y = np.random.default_rng(0), np.arange(1500) % CLASSES
    arrays: dict[str, Any] = {}
    for index, size in enumerate(SIZES):
        centres = random.normal(0, 2, (CLASSES, size))
        arrays[f"X_{index}"] = (centres[y] + random.normal(0, 1, (len(y), size))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "nodes.npz"
    np.savez(path, y=y, **arrays)
    return path


@pytest.fixture(scope="module")
def bundle(file: Path) -> Bundle:
    """What `ddnn train` makes of them without a search, in fewer epochs; some events are answered at every exit."""
    data = load(str(file))
    config = Config.of(merged(find(data, minutes=0).config.model_dump(mode="json"), {"training": {"epochs": 4}}))
    made = make_bundle(data, config, file.parent / "nodes", golden_events=40, yardstick=False)
    scores, limits = record(made, data.subset("validation")), dict[str, float]()
    for exit, share in ((Exit.LOCAL, 0.4), (Exit.EDGE, 0.4)):
        u = np.unique(judge(scores, made.policy, exit).uncertainty)
        at = int(share * len(u))
        limits[exit.value] = float(u[at : at + 2].mean())  # between two, so that no rounding decides
    changes = {"thresholds": Thresholds(**limits), "wait_ms": 60_000, "adaptive_wait": False, "live": {}}
    made.policy.model_copy(update=changes).write(made.path)
    return Bundle.open(made.path)


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[LocalFleet]:
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def test_each_device_sends_its_own_numbers_and_scores_in_8_bits(bundle: Bundle, file: Path) -> None:
    command = [sys.executable, "-m", "ddnn", "evaluate", str(bundle.path), str(file), "--json"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    scores, views, up = printed["sent"]
    assert printed["sent"] == bundle.manifest.training.test["sent"]
    assert (scores["codec"], scores["bits"], scores["bytes"]) == ("sqrt8", 8, [CLASSES + 4] * 2)
    assert (views["passed_on"], views["bytes"], views["raw_views"]) == (True, [2, 16], [4, 32])
    assert (up["passed_on"], up["bytes"], up["raw_views"]) == (True, [24, 24], [48, 48])


@pytest.mark.long
async def test_real_tiers_answer_as_offline_in_those_bytes(bundle: Bundle, served: LocalFleet, file: Path) -> None:
    events = load(str(file)).subset("test").take(np.arange(120))
    answers = await ask(served.device_urls, bundle, events)
    found = agreement(bundle, events, answers)
    assert found.ok, found.differing
    made = decide(record(bundle, events), bundle.policy)
    assert {answer.exit for answer in answers} == {Exit.LOCAL, Exit.EDGE, Exit.CLOUD}
    for answer, exit in zip(answers, made.exit.tolist(), strict=True):
        if answer.exit.rank != exit:
            continue  # a tie
        asked, above = exit != Exit.LOCAL.rank, exit == Exit.CLOUD.rank
        views = 2 * sum(SIZES)
        assert answer.bytes_up == len(SIZES) * (CLASSES + 4) + views * asked + (views + len(SIZES)) * above
