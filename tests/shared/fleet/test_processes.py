"""A fleet of processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.errors import BadBundle, BadConfig
from ddnn.fleet.processes import LocalFleet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet(tiny_bundle: Bundle) -> Iterator[LocalFleet]:
    """The tiny bundle, up."""
    with LocalFleet(tiny_bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready()
        yield fleet


def test_every_tier_is_a_process_of_its_own(fleet: LocalFleet) -> None:
    assert len({fleet.pid(name) for name in fleet.members}) == 8
    assert len(fleet.device_urls) == 6
    assert not fleet.stopped()


def test_a_killed_tier_is_reported_and_starts_again_on_its_port(fleet: LocalFleet) -> None:
    url = fleet.edge_urls[0]
    fleet.kill("edge")
    assert [member.how_it_ended() for member in fleet.stopped()] == ["edge was ended by SIGKILL"]
    fleet.start("edge")
    fleet.wait_until_ready()
    assert fleet.edge_urls[0] == url
    with Client(url) as client:
        assert client.status()["tier"] == "edge"


def test_a_drained_tier_ends_by_itself(fleet: LocalFleet) -> None:
    fleet.terminate("device-5")
    (member,) = fleet.stopped()
    assert member.process is not None
    assert member.process.returncode == 0, member.last_words()
    fleet.start("device-5")
    fleet.wait_until_ready()


@pytest.mark.long
def test_a_killed_tier_is_started_again_by_hand_as_it_was(tiny_bundle: Bundle, tmp_path: Path) -> None:
    settings = {"DDNN_TOKEN": "known-to-the-fleet"}
    with LocalFleet(tiny_bundle.path, base_port=0, state=tmp_path / "the state", env=settings) as fleet:
        fleet.start("cloud")
        command = fleet.command("cloud")
        fleet.kill("cloud")
        assert "known-to" not in command
        by_hand = subprocess.Popen(["sh", "-c", command], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            with Client(fleet.cloud_url, settings["DDNN_TOKEN"]) as client:
                while not client.ready():
                    assert by_hand.poll() is None
                assert client.status()["tier"] == "cloud"
        finally:
            os.killpg(by_hand.pid, signal.SIGTERM)
            by_hand.wait(30)


def test_an_unknown_tier_is_named(fleet: LocalFleet) -> None:
    with pytest.raises(BadConfig, match="no tier 'moon'"):
        fleet.kill("moon")


def test_a_damaged_bundle_starts_nothing(copied_bundle: Path) -> None:
    file = copied_bundle / "cloud.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(BadBundle, match=r"cloud\.onnx"):
        LocalFleet(copied_bundle, base_port=0)


def returncodes(fleet: LocalFleet) -> dict[str, int | None]:
    return {name: member.process.returncode for name, member in fleet.members.items() if member.process}


@pytest.mark.long
def test_devices_stop_while_the_edge_still_answers_them(tiny_bundle: Bundle) -> None:
    with LocalFleet(tiny_bundle.path, base_port=0) as fleet, ThreadPoolExecutor(1) as thread:
        fleet.wait_until_ready()
        slow = psutil.Process(fleet.pid("device-0"))
        slow.suspend()
        stopping = thread.submit(fleet.stop)
        quick = fleet.members["device-5"].process
        assert quick is not None
        assert quick.wait(30) == 0
        with Client(fleet.edge_urls[0]) as edge, Client(fleet.cloud_url) as cloud:
            assert (edge.ready(), cloud.ready()) == (True, True)
        slow.resume()
        stopping.result(60)
        assert set(returncodes(fleet).values()) == {0}


@pytest.mark.long
def test_a_tier_that_does_not_drain_in_time_is_killed(tiny_bundle: Bundle) -> None:
    with LocalFleet(tiny_bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready()
        psutil.Process(fleet.pid("cloud")).suspend()
        fleet.stop(seconds=2)
        assert returncodes(fleet)["cloud"] == -signal.SIGKILL
        assert len(fleet.stopped()) == len(fleet.members)


def test_no_process_outlives_a_fleet_whose_owner_was_killed(tiny_bundle: Bundle) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ddnn.fleet.processes import LocalFleet\n"
        "with LocalFleet(Path(sys.argv[1]), base_port=0) as fleet:\n"
        "    fleet.wait_until_ready()\n"
        "    print(*(fleet.pid(name) for name in fleet.members), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tiny_bundle.path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        tiers = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
        assert len(tiers) == 8
        os.kill(owner.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(tiers, timeout=30)
    assert alive == []
