"""Images for `linux/arm64`, built and run where the kernel hands their programs to an emulator."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import httpx
import pytest

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import Fleet
from ddnn.fleet.events import golden_events
from ddnn.types import Exit

ROOT = Path(__file__).parents[2]
NAME: Final = "ddnn-arm64-test"
PLATFORM: Final = "linux/arm64"
BASE: Final = os.environ.get("DDNN_ARM64_BASE", "python:3.13-slim")
"""Of that platform: here already, or where it can be pulled from."""
EMULATOR: Final = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
LONGEST_S: Final = 3000
PROBE_S: Final = 100
TIERS: Final = {"cloud": "cloud", "edge": "edge --upstream http://cloud:8000"} | {
    "device": "device --index 0 --upstream http://edge:8000"
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.compose,
    pytest.mark.skipif(not EMULATOR.exists(), reason="this kernel has no emulator of arm64 (Debian: qemu-user-static)"),
]


def docker(*arguments: str) -> str:
    """Run `docker`; its stdout."""
    command = ("docker", *arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
    return done.stdout.strip()


def is_here(image: str) -> bool:
    """Whether the engine has the image for that platform, or gets it."""
    inspect = ["docker", "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image]
    pull = ["docker", "pull", "--quiet", "--platform", PLATFORM, image]
    for before in ([], pull):
        if before:
            subprocess.run(before, capture_output=True, timeout=LONGEST_S, check=False)
        found = subprocess.run(inspect, capture_output=True, text=True, timeout=60, check=False)
        if found.stdout.strip() == PLATFORM:
            return True
    return False


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    """An image for each tier."""
    if not is_here(BASE):
        pytest.skip(f"no {BASE} for {PLATFORM} is here or can be pulled; DDNN_ARM64_BASE names another")
    with ExitStack() as stack:
        found = {tier: f"{NAME}-{tier}" for tier in TIERS}
        for tier, image in found.items():
            given = ["--platform", PLATFORM, "--build-arg", f"BASE={BASE}", "--build-arg", f"TIER={tier}"]
            docker("build", "--quiet", *given, "--tag", image, ".")
            stack.callback(docker, "image", "rm", "--force", image)
        yield found


def test_images_are_built_for_arm64_and_their_interpreter_runs(images: dict[str, str]) -> None:
    for image in images.values():
        assert docker("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image) == PLATFORM
        code = "import platform, numpy, uvloop; print(platform.machine())"
        assert docker("run", "--rm", "--platform", PLATFORM, "--entrypoint", "python", image, "-c", code) == "aarch64"


@pytest.fixture(scope="module")
def device(images: dict[str, str]) -> Iterator[str]:
    """A cloud, an edge and a device of the shipped bundle, emulated; the address of the device."""
    with ExitStack() as stack:
        if not runs_sections(images["device"]):
            pytest.skip(f"this emulator does not load ONNX Runtime in {PROBE_S} s; QEMU 7.2 does not at all")
        docker("network", "create", NAME)
        stack.callback(docker, "network", "rm", NAME)
        for tier, serve in TIERS.items():
            run = ["run", "--detach", "--platform", PLATFORM, "--name", images[tier], "--network", NAME]
            docker(*run, "--network-alias", tier, "--publish", "127.0.0.1::8000", images[tier], "serve", *serve.split())
            stack.callback(docker, "rm", "--force", images[tier])
        addresses = {tier: f"http://{docker('port', images[tier], '8000')}" for tier in TIERS}
        until = monotonic() + LONGEST_S
        for tier, address in addresses.items():  # ready: it answers its golden events as torch did
            while not is_ready(address):
                assert monotonic() < until, docker("logs", images[tier])[-2000:]
                sleep(1)
        yield addresses["device"]


def runs_sections(image: str) -> bool:
    """Whether the emulator loads what runs sections."""
    run = ["docker", "run", "--rm", "--platform", PLATFORM, "--name", NAME, "--entrypoint", "python", image]
    try:
        done = subprocess.run([*run, "-c", "import onnxruntime"], capture_output=True, timeout=PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, timeout=60, check=False)
        return False
    return done.returncode == 0


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_they_are_one_fleet_that_answers(device: str) -> None:
    golden = golden_events(Bundle.open(shipped_bundle()))
    with Fleet([device, *["http://127.0.0.1:9"] * 5]) as fleet:
        answers = [
            fleet.answer_event([golden.views[0][row], *[None] * 5], threshold=0.0, wait_ms=1000, deadline_ms=60_000)
            for row in range(3)
        ]
    assert {(answer.exit, answer.degraded) for answer in answers} == {(Exit.CLOUD, False)}
    assert all(answer.devices.tolist() == [True] + [False] * 5 for answer in answers)
