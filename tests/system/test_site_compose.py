"""The files of `ddnn deploy site`, run as containers: a compose project for each machine, by addresses of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from ddnn.bundle import Bundle
from ddnn.client import Fleet
from ddnn.fleet.events import Event, golden_events
from ddnn.fleet.status import read_statuses
from ddnn.types import Exit
from networks import make_bundle

pytestmark = [
    pytest.mark.long,
    pytest.mark.compose,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="addresses need root and iproute2"),
]

ROOT = Path(__file__).parents[2]
IMAGES: Final = "ddnn-site-test"
CLOUD, EDGE, CAMERAS = "10.78.0.1", "10.78.0.2", "10.78.0.3"
USER: Final = 10001  #: of the image
LONGEST_S: Final = 900


def run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
        env={**os.environ, "DDNN_IMAGES": IMAGES, "DDNN_PULL": "never"},
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of two devices: what is looked at is not how many."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "two", devices=2)


@pytest.fixture(scope="module")
def site(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A machine for the cloud, one for the edge, one for all devices: addresses of this one, and folders."""
    out = tmp_path_factory.mktemp("site") / "out"
    where = ["--cloud", CLOUD, "--edge", EDGE, "--device", CAMERAS]
    run(sys.executable, "-m", "ddnn", "deploy", "site", str(out), str(bundle.path), *where)
    with ExitStack() as stack:
        run("ip", "link", "add", "ddnn-site", "type", "bridge")
        stack.callback(run, "ip", "link", "del", "ddnn-site")
        run("ip", "link", "set", "ddnn-site", "up")
        for address in (CLOUD, EDGE, CAMERAS):
            run("ip", "address", "add", f"{address}/24", "dev", "ddnn-site")
        for tier in ("cloud", "edge", "device"):
            run("docker", "build", "--quiet", "--build-arg", f"TIER={tier}", "--tag", f"{IMAGES}-{tier}", ".")
            stack.callback(run, "docker", "rmi", "--force", f"{IMAGES}-{tier}")
        for address in (CLOUD, EDGE, CAMERAS):
            for path in ((out / address), *(out / address).rglob("*")):  # as rsync --chown brings it
                os.chown(path, USER, USER)
            compose = ("docker", "compose", "--project-name", f"ddnn-{address.replace('.', '-')}")
            stack.callback(run, *compose, "down", "--volumes", "--timeout", "5", cwd=out / address)
            run(*compose, "up", "--detach", "--wait", cwd=out / address)
        for path in (out.parent, out):
            path.chmod(0o755)
        yield out


def test_containers_of_three_machines_are_one_fleet_that_knows_its_own(
    site: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site / "site" / "authority.pem"))
    devices = [f"https://{CAMERAS}:{8010 + n}" for n in range(2)]
    statuses = read_statuses([f"https://{CLOUD}:8000", f"https://{EDGE}:8001", *devices])
    assert [tier.problem for tier in statuses if not tier.ready] == []
    names = [tier.part("identity")["name"].removeprefix("ddnn://site/") for tier in statuses]
    assert names == ["cloud/0", "edge/0", *(f"device/{n}" for n in range(2))]
    golden = golden_events(bundle)
    with Fleet(devices) as fleet:
        answers = [
            fleet.answer_event(Event.of(golden, row).views, threshold=0.0, wait_ms=5000, deadline_ms=20_000)
            for row in range(4)
        ]
    assert {(answer.exit, answer.degraded) for answer in answers} == {(Exit.CLOUD, False)}
    assert all(answer.devices.all() for answer in answers)
