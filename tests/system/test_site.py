"""The page of a site of several machines: each of its commands, over network namespaces in place of machines."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

PAGE = (Path(__file__).parents[2] / "shared" / "docs" / "site.md").read_text()
COMMANDS = re.findall(r"^\$ (ddnn .*)$", PAGE, re.MULTILINE)
PATIENCE_S = 120.0
AT = "/opt/ddnn/site"
LONGEST_S = 300

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2"
)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def switch() -> Iterator[str]:
    """A bridge in a namespace of its own, where whoever looks at the site is too."""
    name = f"ddnn-{os.getpid()}"
    with ExitStack() as stack:
        ip("netns", "add", name)
        stack.callback(ip, "netns", "del", name)
        ip("-n", name, "link", "add", "switch", "type", "bridge")
        ip("-n", name, "address", "add", "10.77.0.250/24", "dev", "switch")
        for device in ("switch", "lo"):
            ip("-n", name, "link", "set", device, "up")
        yield name


def machine(switch: str, address: str, stack: ExitStack) -> str:
    """A namespace with this address on the bridge."""
    name, cable = f"{switch}-{address.rpartition('.')[2]}", f"v{address.rpartition('.')[2]}"
    ip("netns", "add", name)
    stack.callback(ip, "netns", "del", name)
    ip("-n", switch, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("-n", switch, "link", "set", cable, "master", "switch", "up")
    ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        ip("-n", name, "link", "set", device, "up")
    return name


def start(machine: str, folder: Path, unit: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    """What systemd would start by a unit, on the machine; the folder stands for /opt/ddnn/site there."""
    text = unit.read_text().replace(AT, str(folder))
    (settings,) = re.findall(r"^EnvironmentFile=([^-].*)$", text, re.MULTILINE)
    (command,) = re.findall(r"^ExecStart=/usr/bin/env ddnn (.*)$", text, re.MULTILINE)
    lines = Path(settings).read_text().replace(AT, str(folder)).splitlines()
    env = {**os.environ, "DDNN_THREADS": "1", **dict(line.split("=", 1) for line in lines)}
    log = stack.enter_context((folder / f"{unit.stem}.log").open("wb"))
    process = subprocess.Popen(
        ["ip", "netns", "exec", machine, sys.executable, "-m", "ddnn", *command.split()], env=env, stderr=log
    )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    return process


def run(switch: str, command: str, cwd: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", *command.split()]
    return subprocess.run(
        ["ip", "netns", "exec", switch, *words],
        cwd=cwd,
        env={**os.environ, "SSL_CERT_FILE": str(cwd / "out" / "site" / "authority.pem")},
        capture_output=True,
        text=True,
        check=check,
        timeout=LONGEST_S,
    )


@pytest.mark.long
def test_each_command_of_the_page_over_eight_machines(switch: str, tmp_path: Path) -> None:
    deploy, *looks = COMMANDS
    said = run(switch, deploy, tmp_path).stdout
    for tier, netloc in (("cloud", "10.77.0.1:8000"), ("edge", "10.77.0.2:8001"), ("device-5", "10.77.0.15:8015")):
        assert re.search(rf"^{tier} +{netloc} ", said, re.MULTILINE)
    hosts = sorted((tmp_path / "out").glob("10.77.*"), key=lambda host: [int(n) for n in host.name.split(".")])
    assert len(hosts) == 8
    for host in hosts:  # nobody has a key of another, nor the authority's
        assert sum(b"PRIVATE KEY" in file.read_bytes() for file in host.rglob("*.pem")) == 1
    with ExitStack() as stack:
        started = [
            (host, start(machine(switch, host.name, stack), host, unit, stack))
            for host in hosts
            for unit in host.glob("*.service")
        ]
        until = monotonic() + PATIENCE_S
        while run(switch, looks[0], tmp_path, check=False).returncode:
            assert monotonic() < until, "\n".join(log.read_text()[-500:] for log in tmp_path.rglob("*.log"))
            assert all(process.poll() is None for _, process in started)
            sleep(0.5)
        outputs = [run(switch, look, tmp_path).stdout for look in looks]
        assert outputs[0].count("ready") == 8
        assert "golden events came back as they are offline" in outputs[1]
        assert "●●●●●●" in outputs[2]
        for host, _ in started:  # each listens where its machine is reached, and says so
            (log,) = host.glob("*.log")
            assert f"listens on {host.name} port 80" in log.read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="units are checked by systemd itself")
def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", *COMMANDS[0].split()], cwd=tmp_path, check=True, capture_output=True)
    units = [str(unit) for unit in (tmp_path / "out").rglob("*.service")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(units) == 8
