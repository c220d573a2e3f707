"""`ddnn up` on topologies that the shipped bundle does not have: processes, joined as they should be."""

import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.fleet.diagnostics import check_answers, check_fleet
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.status import read_statuses, silent_s
from ddnn.types import Exit
from networks import TOPOLOGIES, make_bundle
from real_fleet import Sensors


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Six devices behind two edges."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "two-edges", edges=[[0, 2, 4], [1, 3, 5]])


@pytest.fixture(scope="module")
def fleet(bundle: Bundle) -> Iterator[LocalFleet]:
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def test_every_device_is_joined_by_its_edge_and_answers_as_offline(bundle: Bundle, fleet: LocalFleet) -> None:
    out = io.StringIO()
    # The package's own name `up` is the function.
    importlib.import_module("ddnn.cli.run")._say_where(fleet, Console(file=out, width=200), None)
    joins = [line.partition("joins ")[2] for line in out.getvalue().splitlines() if " joins " in line]
    assert joins == ["edge-0, edge-1", "device-0, device-2, device-4", "device-1, device-3, device-5"]
    addresses, until = {name: member.url for name, member in fleet.members.items()}, monotonic() + 30
    # A tier that was ready before the one above may yet have to ask it again.
    tiers = read_statuses(addresses)
    while any(silent_s(tier) is not None for tier in tiers) and monotonic() < until:
        sleep(0.2)
        tiers = read_statuses(addresses)
    findings = [*check_fleet(tiers, bundle), *check_answers(tiers, bundle)]
    assert {finding.verdict for finding in findings} == {"ok"}, findings
    assert findings[-1].check == "answers"


def test_a_killed_cloud_leaves_the_edges_exits_and_comes_back(bundle: Bundle, fleet: LocalFleet) -> None:
    sensors = Sensors(bundle, fleet)
    rows = slice(0, 4)
    fleet.kill("cloud")
    assert {(answer.exit, answer.degraded) for answer in sensors.see(rows)} == {(Exit.EDGE, True)}
    fleet.start("cloud")
    fleet.wait_until_ready(seconds=120)
    sensors.until_whole()
    assert {answer.exit for answer in sensors.see(rows, wait_ms=5000)} == {Exit.CLOUD}
    sensors.client.close()


@pytest.mark.long
def test_a_fleet_without_sections_below_the_cloud_comes_up_and_answers(tmp_path: Path) -> None:
    raw = make_bundle(tmp_path / "raw", devices=2, **TOPOLOGIES["a"])
    command = [sys.executable, "-m", "ddnn", "up", str(raw.path), "--base-port", "0", "--count", "3", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "= 3 events" in done.stdout
    assert "answered at cloud 100 %" in done.stdout
