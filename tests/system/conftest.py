"""Real processes for the system tests: one fleet a session, whole again before each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client.admin import Admin
from ddnn.fleet.processes import LocalFleet
from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.task import entropy, probabilities
from ddnn.types import Exit
from ddnn_lab.faults.soaking import Rig
from real_fleet import ADMIN, Sensors, follow


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole fleets of processes are slow, each test of them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def every_exit(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped bundle under a policy by which local, edge and cloud each answer a share, and that waits a minute."""
    path = Path(shutil.copytree(shipped_bundle(), tmp_path_factory.mktemp("bundles") / "every-exit"))
    bundle = Bundle.open(path)
    golden = bundle.golden

    def quantile(exit: Exit, share: float) -> float:
        """So many of the golden events are surer than this; halfway between two, so that no rounding decides."""
        eta = np.sort(entropy(probabilities(golden[f"{exit}_scores"][:, 0])))
        at = int(share * len(eta))
        return float((eta[at - 1] + eta[at]) / 2)

    Policy(
        bundle=bundle.fingerprint,
        thresholds=Thresholds(local=quantile(Exit.LOCAL, 0.3), edge=quantile(Exit.EDGE, 0.5)),
        temperatures=Temperatures(),
        wait_ms=60_000,
        adaptive_wait=False,
    ).write(path)
    return Bundle.open(path)


@pytest.fixture(scope="session")
def processes(every_exit: Bundle) -> Iterator[LocalFleet]:
    """Cloud, edge and six devices as processes on free ports."""
    with LocalFleet(every_exit.path, base_port=0, env={"DDNN_ADMIN_TOKEN": ADMIN}) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


@pytest.fixture(scope="session")
def session_sensors(every_exit: Bundle, processes: LocalFleet) -> Iterator[Sensors]:
    """The same sensors for the whole session, so that no event id comes twice."""
    sensors = Sensors(every_exit, processes)
    yield sensors
    sensors.client.close()


@pytest.fixture
def served(processes: LocalFleet, session_sensors: Sensors) -> LocalFleet:
    """The fleet, every tier of it running and in use; whatever a test ends is started again."""
    for name in processes.members:
        processes.start(name)
    processes.wait_until_ready(seconds=120)
    session_sensors.until_whole()
    return processes


@pytest.fixture
def sensors(served: LocalFleet, session_sensors: Sensors) -> Sensors:
    """What watches the golden events for a whole fleet."""
    return session_sensors


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Another fleet, over links, that is whole whenever no trouble befalls it."""
    with Rig.of(tmp_path_factory.mktemp("bundles")) as rig:
        yield rig


@pytest.fixture
def source(served: LocalFleet) -> Iterator[Admin]:
    """Where the fleet's policy is written; what it was is put back."""
    with Admin(served.cloud_url, admin_token=ADMIN) as source:
        before = source.read_policy()
        yield source
        follow(served, source.write_policy(before, over=source.read_policy())["etag"])
