"""`docker compose up`: the fleet as containers."""

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import EventAnswer, Fleet
from ddnn.fleet.compose import compose_file
from ddnn.fleet.events import Event, golden_events
from ddnn.types import Exit
from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.faults.oracle import Oracle, Verdict, try_out, until_whole
from ddnn_lab.faults.troubles import SteadyLoad, Trouble
from networks import make_bundle

pytestmark = pytest.mark.compose

ROOT = Path(__file__).parents[2]
PROJECT = "ddnn-compose-test"
SERVICES = {"identity", "cloud", "edge", "sensors", *(f"device-{device}" for device in range(6))}
DEVICES = [f"https://127.0.0.1:{8010 + device}" for device in range(6)]
BASE_IMAGE = "python:3.13-slim"
MOST_ADDED = 290_000_000
WATCHER = f"{PROJECT}-prometheus"
"""Debian's Prometheus, near the version that the profile `watch` names, as registries cannot be reached everywhere."""
EVENTS = 48
BODIES = 31
UNDECIDED = 8
"""Events asked with a threshold no exit is below: all of them go to the cloud."""


def run(*command: str) -> str:
    """Run a command in the repository; its stdout."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
    return done.stdout


def compose(*arguments: str) -> str:
    """Run `docker compose` under a project name of its own."""
    return run("docker", "compose", "--project-name", PROJECT, *arguments)


def containers() -> dict[str, dict[str, str]]:
    """Running containers by service."""
    lines = compose("ps", "--format", "json").splitlines()
    return {entry["Service"]: entry for entry in map(json.loads, lines)}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The fleet of `docker-compose.yml`, trusted by whatever asks it; `down` in the end leaves nothing."""
    authority = tmp_path_factory.mktemp("site") / "authority.pem"
    try:
        compose("up", "--build", "--wait", "--detach")
        compose("cp", "sensors:/site/authority.pem", str(authority))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(authority))
            yield
    finally:
        compose("down", "--volumes", "--rmi", "all", "--timeout", "5")
    assert left_over() == []


def left_over() -> list[str]:
    """Containers, volumes and networks of the project that still exist."""
    label = f"label=com.docker.compose.project={PROJECT}"
    kinds = [("ps", "--all"), ("volume", "ls"), ("network", "ls")]
    return [line for kind in kinds for line in run("docker", *kind, "--quiet", "--filter", label).splitlines()]


def ask(*, threshold: float | None = None, events: int = EVENTS) -> list[EventAnswer]:
    """Answers to the first golden events, one by one."""
    golden = golden_events(Bundle.open(shipped_bundle()))
    with Fleet(DEVICES) as fleet:
        return [
            fleet.answer_event(Event.of(golden, row).views, threshold=threshold, wait_ms=5000) for row in range(events)
        ]


def test_ten_containers_are_healthy(up: None) -> None:
    assert {service: entry["Health"] for service, entry in containers().items()} == dict.fromkeys(SERVICES, "healthy")


def test_golden_events_are_answered(up: None) -> None:
    golden = golden_events(Bundle.open(shipped_bundle()))
    answers = ask()
    assert not any(answer.degraded for answer in answers)
    assert all(answer.devices.all() for answer in answers)
    right = sum(answer.label == golden.y[row] for row, answer in enumerate(answers))
    assert right >= 0.9 * len(answers)


def test_the_sensors_print_answers(up: None) -> None:
    lines = compose("logs", "--no-log-prefix", "sensors").splitlines()
    assert "answer" in lines[0]
    assert any("●●●●●●" in line for line in lines[1:])


def test_a_dead_cloud_degrades_and_events_go_up_again_when_it_is_back(up: None) -> None:
    alive, unsure = ask(), ask(threshold=0.0, events=UNDECIDED)
    assert {answer.exit for answer in unsure} == {Exit.CLOUD}

    compose("kill", "cloud")
    dead, lost = ask(), ask(threshold=0.0, events=UNDECIDED)
    assert [answer.degraded for answer in dead] == [answer.exit is Exit.CLOUD for answer in alive]
    assert all(answer.degraded and answer.degraded_reason and answer.exit is not Exit.CLOUD for answer in lost)

    compose("start", "cloud")
    compose("up", "--wait", "--detach", "--no-build")
    for _ in range(200):  # its breaker lets the edge try again by itself; each event is a try
        (answer,) = ask(threshold=0.0, events=1)
        if not answer.degraded:
            break
    assert answer.exit is Exit.CLOUD
    assert [each.exit for each in ask()] == [each.exit for each in alive]


@pytest.mark.parametrize("keys", [{"devices": 3}, {"edges": 2}], ids=["three devices", "two edges"])
def test_the_file_for_another_bundle_starts_its_fleet(
    up: None, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle", **keys)
    for path in (tmp_path, bundle.path, *bundle.path.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)  # for user 10001
    (tmp_path / "docker-compose.yml").write_text(compose_file(bundle.path, base_port=9500), "utf-8")
    monkeypatch.setenv("DDNN_SOURCE", str(ROOT))
    other = ["docker", "compose", "--project-name", f"{PROJECT}-other", "--project-directory", str(tmp_path)]
    try:
        run(*other, "up", "--build", "--wait", "--detach")
        run(*other, "cp", "sensors:/site/authority.pem", str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        event = Event.of(golden_events(bundle), 0)
        with Fleet([f"https://127.0.0.1:{9510 + device}" for device in range(len(event.views))]) as fleet:
            answer = fleet.answer_event(event.views, threshold=0.0, wait_ms=5000)
        assert (answer.exit, answer.degraded, bool(answer.devices.all())) == (Exit.CLOUD, False, True)
    finally:
        run(*other, "down", "--volumes", "--rmi", "local", "--timeout", "5")


def test_prometheus_reaches_every_tier_from_where_the_profile_watch_puts_it(
    up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = "apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null"
    file = f'FROM {BASE_IMAGE}\nRUN {installed}\nENTRYPOINT ["prometheus"]\n'
    command = ["docker", "build", "--quiet", "--tag", WATCHER, "-"]
    built = subprocess.run(command, input=file, capture_output=True, text=True, timeout=600, check=False)
    assert built.returncode == 0, built.stderr[-4000:]
    monkeypatch.setenv("PROMETHEUS_IMAGE", WATCHER)
    monkeypatch.setenv("PROMETHEUS_PORT", "0")
    try:
        compose("--profile", "watch", "up", "--detach", "--no-build", "prometheus")
        where = f"http://{compose('--profile', 'watch', 'port', 'prometheus', '9090').strip()}/api/v1"
        tiers, until = {"cloud", "edge", *(f"device-{device}" for device in range(6))}, monotonic() + 90
        health: dict[str, str] = {}
        while health != dict.fromkeys(tiers, "up"):
            assert monotonic() < until, f"{health} {compose('logs', '--no-log-prefix', 'prometheus')[-2000:]}"
            sleep(0.5)
            health = {
                target["labels"]["tier"]: target["health"] for target in told(f"{where}/targets", "activeTargets")
            }
        assert {group["name"] for group in told(f"{where}/rules", "groups")}
    finally:
        compose("--profile", "watch", "rm", "--stop", "--force", "--volumes", "prometheus", "watch-files")
        run("docker", "image", "rm", "--force", WATCHER)


def told(url: str, part: str) -> list[dict[str, Any]]:
    """What an address of Prometheus says; nothing while it does not."""
    try:
        document = httpx.get(url, timeout=5).json()
    except (httpx.TransportError, ValueError):
        return []
    found: list[dict[str, Any]] = document["data"][part]
    return found


class Containers:
    """The tiers of `docker-compose.yml`, by the names of their services."""

    urls: Final = {"cloud": "https://127.0.0.1:8000", "edge": "https://127.0.0.1:8001"} | {
        f"device-{n}": url for n, url in enumerate(DEVICES)
    }

    def status(self, name: str) -> dict[str, Any] | None:
        """`GET /v2/status`; None where nobody answers."""
        try:
            context = ssl.create_default_context()
            document: dict[str, Any] = httpx.get(f"{self.urls[name]}/v2/status", timeout=1, verify=context).json()
        except (httpx.TransportError, ValueError):
            return None
        return document

    def statuses(self) -> Iterator[dict[str, Any] | None]:
        """The same of every tier."""
        return map(self.status, self.urls)


def act(*command: str) -> Callable[[Containers, str], object]:
    """What `docker compose` does to a service."""
    return lambda fleet, name: compose(*command, name)


def back(*command: str) -> Callable[[Containers, str], object]:
    """The same, and wait until the tier says that it is there."""

    def act(fleet: Containers, name: str) -> None:
        if command:
            compose(*command, name)
        until = monotonic() + 60
        while fleet.status(name) is None:
            assert monotonic() < until, f"{name} does not come back"

    return act


HALF: Final = 0.003
"""Threshold by which about half of the golden events go further up than the local exit."""
BUSY: Final = frozenset({"timeout", "deadline", "circuit_open", "no_features"})
AWAY: Final = frozenset({"unreachable", "circuit_open", "gone", "timeout", "deadline"})
CORE: Final = {
    "killed": Trouble("killed", act("kill"), back("start"), AWAY),
    "paused": Trouble("paused", act("pause"), back("unpause"), AWAY | {"no_features"}),
    "restarted": Trouble("restarted", act("restart"), back(), AWAY | {"refused", "draining", "no_features"}),
}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("killed", "edge"),
        ("killed", "device-1"),
        ("paused", "cloud"),
        ("paused", "edge"),
        ("paused", "device-1"),
        ("restarted", "cloud"),
        ("restarted", "edge"),
    ],
)
def test_troubles_of_containers_lose_no_request_and_make_no_answer_silently_worse(
    up: None, oracle: Oracle, name: str, target: str
) -> None:
    deadline_s = 1.5 if name == "paused" and target != "device-1" else 10.0
    bundle, rows, fleet = Bundle.open(shipped_bundle()), oracle.rows, Containers()
    with SteadyLoad(DEVICES, bundle, rows, rate=6, deadline_s=deadline_s, threshold=HALF) as load:
        until_whole(fleet, load, monotonic(), quiet_s=0.5)
        trial = try_out(fleet, load, CORE[name], target, seconds=2, quiet_s=0.5)
    verdict = Verdict.of(trial, load.samples, oracle, deadline_s, busy=BUSY)
    assert not verdict.lost
    assert not verdict.wrong
    assert verdict.asked
    if target != "device-1":
        assert verdict.reasons


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """What is right."""
    return Oracle(Bundle.open(shipped_bundle()), threshold=HALF)


def test_a_container_is_confined(up: None) -> None:
    for entry in containers().values():
        (seen,) = json.loads(run("docker", "inspect", entry["ID"]))
        host = seen["HostConfig"]
        assert seen["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] > 0
        assert {bind["HostIp"] for binds in (host["PortBindings"] or {}).values() for bind in binds} <= {"127.0.0.1"}
        assert run("docker", "exec", entry["ID"], "id", "-u").strip() == "10001"


def test_an_image_is_small_and_holds_one_tier_and_no_torch(up: None) -> None:
    base = size(BASE_IMAGE)
    for tier in ("cloud", "edge", "device"):
        image = f"{PROJECT}-{tier}"
        assert size(image) - base <= MOST_ADDED
        names = ["torch", "onnx", "ddnn_device", "ddnn_edge", "ddnn_cloud"]
        code = f"import importlib.util; print([n for n in {names} if importlib.util.find_spec(n)])"
        there = run("docker", "run", "--rm", "--entrypoint", "python", image, "-c", code)
        assert there.strip() == f"['ddnn_{tier}']"
        traced = "import opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter"
        run("docker", "run", "--rm", "--entrypoint", "python", image, "-c", traced)


@pytest.mark.parametrize(
    "service", ["cloud", *(pytest.param(name, marks=pytest.mark.long) for name in ("edge", "device-0"))]
)
def test_bodies_but_for_their_last_byte_leave_a_container_within_its_memory(up: None, service: str) -> None:
    where, context = urlsplit(Containers.urls[service]), ssl.create_default_context()
    with ExitStack() as stack:

        def begin(size: int) -> ssl.SSLSocket:
            """A connection that has said how large its body is."""
            plain = socket.create_connection((where.hostname, where.port or 443), timeout=30)
            caller = stack.enter_context(context.wrap_socket(plain, server_hostname=where.hostname))
            lines = [f"POST {INFER_PATH} HTTP/1.1", "host: x", f"content-length: {size}"]
            caller.sendall("\r\n".join([*lines, "x-ddnn-deadline-ms: 600000", "", ""]).encode())
            return caller

        largest = int(re.findall(rb"at most (\d+)", begin(1 << 30).recv(1 << 16))[0])
        for caller in [begin(largest) for _ in range(BODIES)]:
            caller.settimeout(0.3)
            with suppress(OSError):  # what is not taken now is not taken
                caller.sendall(b"[" * (largest - 1))
        (answer,) = ask(events=1)
        assert answer.label >= 0  # what is outside has one address here, whose share of the attacked tier is taken
    (seen,) = json.loads(run("docker", "inspect", containers()[service]["ID"]))
    assert (seen["RestartCount"], seen["State"]["OOMKilled"]) == (0, False)


def size(image: str) -> int:
    """Bytes of an image, its layers together."""
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))


def test_tiers_know_each_other_by_certificates_and_a_revoked_one_is_refused_while_all_run(up: None) -> None:
    for n, url in enumerate(DEVICES):
        assert httpx.get(f"{url}/v2/status", verify=ssl.create_default_context()).json()["identity"]["name"] == (
            f"ddnn://site/device/{n}"
        )
    compose("exec", "identity", "ddnn", "identity", "revoke", "/site", "device-5")
    try:
        until = monotonic() + 60
        reasons: list[str | None] = []
        while "unauthorized" not in reasons:
            given = ask(threshold=0.0, events=1)[0].answers
            reasons = [each.degraded_reason if each else None for each in given]
            assert monotonic() < until, reasons
        assert [reason == "unauthorized" for reason in reasons] == [False] * 5 + [True]
    finally:
        compose("exec", "identity", "ddnn", "identity", "issue", "/site", "device", "5")


def test_no_container_but_the_authority_holds_its_key_or_that_of_another_tier(up: None) -> None:
    for service, entry in containers().items():
        found = run("docker", "exec", entry["ID"], "find", "/site", "/var/lib/ddnn", "-name", "*.pem")
        keys = {path for path in found.split() if path.endswith(("key.pem", "tier.pem"))}
        if service == "identity":
            assert len(keys) == 9
        else:
            assert keys == ({"/var/lib/ddnn/tier.pem"} if service != "sensors" else set())
