"""From a stream that drifts to labels to a network that has learnt it, in a fleet of processes; and labels by keys."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys
from typer.testing import CliRunner

from browser import open_browser
from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.client import Fleet
from ddnn.data import Dataset, load
from ddnn.data.labelled import Labelled
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.status import read_statuses
from ddnn.pipeline import make_bundle
from ddnn.training import Config
from ddnn_lab.drifting import Drift, drifting
from real_fleet import ADMIN

pytestmark = pytest.mark.long

PATIENCE_S = 90.0
DEVICES = [0, 2]
STREAM = 320


def ddnn(*args: object) -> Any:
    """What a command says with `--json`."""
    result = CliRunner().invoke(app, [*map(str, args), "--json"], env={"DDNN_ADMIN_TOKEN": ADMIN})
    assert result.exit_code == 0, (args, result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two cameras around four shapes, as they are before anything drifts."""
    folder = tmp_path_factory.mktemp("bundles")
    small = {"filters": [8], "cut_filters": 4}
    network = {"devices": DEVICES, "device": small, "edge": small, "cloud": small}
    config = Config.of({"network": network, "training": {"epochs": 20}})
    data = load("synthetic", seed=0, devices=DEVICES)
    return make_bundle(data, config, folder / "first", tested=False, yardstick=False, golden_events=24)


@pytest.fixture(scope="module")
def fleet(taught: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    state = tmp_path_factory.mktemp("state")
    with LocalFleet(taught.path, base_port=0, state=state, env={"DDNN_ADMIN_TOKEN": ADMIN}) as fleet:
        fleet.wait_until_ready(seconds=PATIENCE_S)
        yield fleet


def worn(seed: int) -> Dataset:
    """Other shapes, seen by cameras whose pictures have become pale."""
    data = load("synthetic", seed=seed, devices=DEVICES)
    stream, _ = drifting(data, Drift(fade=0.65, begins=-1.0, over=0.1), events=STREAM, seed=seed)
    return stream


def addresses(fleet: LocalFleet) -> list[str]:
    return [member.url for member in fleet.members.values()]


def named(fleet: LocalFleet) -> list[str]:
    return [word for url in addresses(fleet) for word in ("--url", url)]


def seen(fleet: LocalFleet, events: Dataset, name: str) -> tuple[list[str], float]:
    """The ids of events that all devices see, and how many answers are right."""
    ids, right = [f"{name} {n}" for n in range(len(events))], 0
    with Fleet(fleet.device_urls) as client:
        for at in range(0, len(events), 24):
            rows = slice(at, at + 24)
            views = [view[rows] for view in events.views]
            answers = client.answer_events(views, events=ids[rows], deadline_ms=20_000, wait_ms=5000)
            right += sum(answer.label == label for answer, label in zip(answers, events.y[rows], strict=True))
    return ids, right / len(events)


@pytest.fixture(scope="module")
def exported(fleet: LocalFleet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """What the fleet kept of a drifted stream, labelled by a table, and how often it was right."""
    keeping = ("--events", 400, "--unsure", 0.99, "--random", 0.1, "--per-second", 1000, "--views", "given")
    ddnn("policy", "doubts", *keeping, *named(fleet))
    stream = worn(seed=1)
    ids, before = seen(fleet, stream, "drifted")
    until = monotonic() + PATIENCE_S
    while not all(doubt["seen"] == ["device-0", "device-1"] for doubt in ddnn("doubts", "list", *named(fleet))):
        assert monotonic() < until
        sleep(0.1)
    file, table = tmp_path_factory.mktemp("export") / "doubts.npz", tmp_path_factory.mktemp("labels") / "labels.csv"
    report = ddnn("doubts", "export", file, "--most", 200, "--clear", *named(fleet))
    found = Labelled.read(file)
    assert report["events"] == len(found) == found.left > 100
    truth = dict(zip(ids, stream.y.tolist(), strict=True))
    for row, event in enumerate(found.events):
        for device, view in enumerate(found.views):
            assert (view[row] == stream.views[device][ids.index(event)]).all()
    with table.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["event", "label"])
        rows.writerows((event, stream.classes[truth[event]]) for event in found.events)
    assert ddnn("doubts", "label", file, "--csv", table)["labelled"] == len(found)
    return file, before


def test_what_a_fleet_doubted_once_labelled_makes_it_right_again_in_the_same_fleet(
    fleet: LocalFleet, taught: Bundle, exported: tuple[Path, float], tmp_path: Path
) -> None:
    file, before = exported
    after = worn(seed=2)
    _, still = seen(fleet, after, "still")
    learn = ("--from", taught.path, "--also", file, "--epochs", 12, "--no-yardstick", "--out", tmp_path / "second")
    report = ddnn("train", "synthetic", *learn)
    gained = {row["data"]: row for row in report["test"]["gained"]}
    assert gained.keys() == {"synthetic", "doubts"}
    assert gained["doubts"]["after"] > gained["doubts"]["before"]
    rolled = ddnn(
        "rollout", "start", tmp_path / "second", "--url", fleet.cloud_url, "--events", 0, "--wait", PATIENCE_S
    )
    assert rolled["stage"] == "serving"
    until = monotonic() + PATIENCE_S
    while {tier.fingerprint for tier in read_statuses(addresses(fleet))} != {rolled["bundle"]}:
        assert monotonic() < until
        sleep(0.1)
    _, now = seen(fleet, after, "after")
    assert max(before, still) < 0.78
    assert now > 0.82, (before, still, now)


def test_events_are_labelled_by_keys_in_a_browser(exported: tuple[Path, float], tmp_path: Path) -> None:
    whole = Labelled.read(exported[0])
    file = tmp_path / "doubts.npz"
    replace(whole, y=np.where(np.arange(len(whole)) < 3, -1, whole.y)).write(file)
    with open_browser() as browser:
        command = [sys.executable, "-m", "ddnn", "doubts", "label", str(file)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr
                found = re.search(r"label 3 events at (http://127.0.0.1:\d+/[\w-]+/)", process.stderr.readline())
                assert found
                browser.open(found[1])
                browser.until(lambda: browser.text("#progress") == f"{len(whole) - 3} of {len(whole)} labelled")
                browser.until(lambda: len(browser.all("#views img")) == 2)
                assert whole.classes[0] in browser.text("#classes")
                assert browser.text("#answer") == "", "what the network said would lead the eye"
                body = browser.find("body")
                for key in ("2", "1", Keys.ARROW_LEFT, Keys.BACKSPACE, " ", "4"):
                    body.send_keys(key)
                browser.until(lambda: Labelled.read(file).left == 1)
                assert browser.said() == []
                assert browser.faults() == []
                browser.open(found[1], dark=True, width=390)
                browser.until(lambda: browser.all("#views img"))
                assert browser.faults() == []
                assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
                browser.picture("label", tmp_path)
            finally:
                process.send_signal(2)
                process.wait(PATIENCE_S)
    assert process.returncode == 0
    labelled = Labelled.read(file)
    assert labelled.y[0] == 1
    assert sorted(labelled.y[1:3].tolist()) in ([-1, 3], [-1, 0])
