"""Tiers that know each other by certificates: who may speak for whom, on real ports."""

import asyncio
import http.client
import json
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.errors import BadConfig
from ddnn.fleet import probe
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.status import read_statuses
from ddnn.identity.authority import Authority
from ddnn.settings import Settings
from ddnn.types import Exit, Tier
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import encode_request
from real_fleet import PATIENCE_S, Sensors, serve_tier

TOKEN = "callers-of-this-site-have-it"
MOMENT_DAYS = 1e-6


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity") / "site"


@pytest.fixture(scope="module")
def fleet(every_exit: Bundle, site: Path) -> Iterator[LocalFleet]:
    """All tiers of a site, by processes, over mutual TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(site / "authority.pem"))
        with LocalFleet(every_exit.path, base_port=0, identity=site, env={"DDNN_TOKEN": TOKEN}) as fleet:
            fleet.wait_until_ready(seconds=120)
            yield fleet


@pytest.fixture
def sensors(every_exit: Bundle, fleet: LocalFleet) -> Iterator[Sensors]:
    sensors = Sensors(every_exit, fleet, f"{time.monotonic_ns()} ", token=TOKEN)
    sensors.until_whole()
    yield sensors
    sensors.client.close()


class Caller:
    """A kept connection to one tier, with the certificate of another, or none."""

    def __init__(self, url: str, site: Path, folder: Path | None = None) -> None:
        context = ssl.create_default_context(cafile=site / "authority.pem")
        if folder:
            context.load_cert_chain(folder / "tier.pem")
        host, port = url.removeprefix("https://").split(":")
        self._connection = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE_S, context=context)

    def post(self, inputs: dict[str, Any], token: str | None = None, **parameters: Any) -> tuple[int, str]:
        """The status, and the sentence where it is a refusal."""
        body, headers = encode_request(inputs, parameters=parameters)
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._connection.request("POST", INFER_PATH, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        return response.status, "" if response.status == 200 else json.loads(content)["error"]

    def certificate(self) -> dict[str, Any]:
        """What the tier shows to a new connection."""
        self._connection.connect()
        assert isinstance(self._connection.sock, ssl.SSLSocket)
        return dict(self._connection.sock.getpeercert() or {})

    def close(self) -> None:
        self._connection.close()


def contribution(bundle: Bundle, device: int) -> dict[str, Any]:
    """What a device sends of a golden event that has no id."""
    scores, features = (bundle.golden[f"device_{name}"][:1, device] for name in ("scores", "features"))
    return {"scores": bundle.topology.score_codec(Exit.DEVICE).pack(scores), "features": features}


def test_events_go_up_through_every_exit_over_mutual_tls(sensors: Sensors) -> None:
    exits = {answer.exit for answer in sensors.see(slice(0, 24), wait_ms=5000)}
    assert exits == {Exit.LOCAL, Exit.EDGE, Exit.CLOUD}


def test_a_device_speaks_for_itself_alone(fleet: LocalFleet, site: Path, every_exit: Bundle) -> None:
    caller = Caller(fleet.edge_urls[0], site, site / "device-2")
    assert caller.post(contribution(every_exit, 2), device=2)[0] == 200
    status, said = caller.post(contribution(every_exit, 3), device=3)
    assert (status, said) == (403, "it has the certificate of device 2 of site; only device 3 may speak for itself")
    caller.close()


@pytest.mark.parametrize("folder", ["edge-0", "cloud-0"])
def test_no_other_tier_speaks_for_a_device(fleet: LocalFleet, site: Path, every_exit: Bundle, folder: str) -> None:
    caller = Caller(fleet.edge_urls[0], site, site / folder)
    assert caller.post(contribution(every_exit, 3), token=TOKEN, device=3)[0] == 403
    caller.close()


def test_the_cloud_takes_an_edge_from_that_edge_alone(fleet: LocalFleet, site: Path, every_exit: Bundle) -> None:
    inputs = {"features": every_exit.golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)}
    for folder, expected in [("edge-0", 200), ("device-0", 403)]:
        caller = Caller(fleet.cloud_url, site, site / folder)
        assert caller.post(inputs, token=TOKEN, edge=0)[0] == expected
        caller.close()


def test_a_token_is_for_callers_and_a_certificate_for_tiers(fleet: LocalFleet, site: Path, every_exit: Bundle) -> None:
    view = {"view": every_exit.golden["view_0"][:1]}
    sensor, impostor = Caller(fleet.device_urls[0], site), Caller(fleet.edge_urls[0], site)
    assert sensor.post(view, token=TOKEN)[0] == 200
    assert sensor.post(view)[0] == 401
    status, said = impostor.post(contribution(every_exit, 0), token=TOKEN, device=0)
    assert (status, said.partition(";")[0]) == (403, "this connection showed no certificate of a tier")
    for caller in (sensor, impostor):
        caller.close()


def test_a_certificate_that_has_expired_opens_no_connection(
    fleet: LocalFleet, every_exit: Bundle, site: Path, tmp_path: Path
) -> None:
    folder, until = site / "device-5", time.monotonic() + PATIENCE_S
    kept = (folder / "tier.pem").read_bytes()
    Authority(site).issue(Tier.DEVICE, 5, days=MOMENT_DAYS)
    shutil.copy(folder / "tier.pem", tmp_path)
    (folder / "tier.pem").write_bytes(kept)

    def post() -> None:
        while time.monotonic() < until:  # it is good to the end of its last second
            with closing(Caller(fleet.edge_urls[0], site, tmp_path)) as caller:
                caller.post(contribution(every_exit, 5), device=5)

    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        post()


def test_a_revoked_certificate_is_refused_on_a_kept_connection_and_another_heals(
    fleet: LocalFleet, site: Path, every_exit: Bundle, sensors: Sensors
) -> None:
    authority, (edge, device) = (
        Authority(site),
        (fleet.edge_urls[0], Caller(fleet.edge_urls[0], site, site / "device-4")),
    )
    assert device.post(contribution(every_exit, 4), device=4)[0] == 200
    authority.revoke("device-4")
    until = time.monotonic() + PATIENCE_S
    while (answer := device.post(contribution(every_exit, 4), device=4))[0] == 200:
        assert time.monotonic() < until, edge
    assert answer == (403, "the certificate of device 4 of site is revoked; only device 4 may speak for itself")
    alone = sensors.see(slice(0, 1), devices=(4,), threshold=0.0)[0].answers[4]
    assert alone is not None
    assert (alone.exit, alone.degraded_reason) == (Exit.DEVICE, "unauthorized")
    with Client(fleet.device_urls[4]) as revoked:
        assert "the certificate of device 4 of site is revoked" in revoked.status()["uplink"]["refusal"]
    while any(answer.degraded for answer in sensors.see(slice(0, 4), devices=(0, 1, 2, 3, 5), wait_ms=100)):
        assert time.monotonic() < until, "the others do not go on"
    authority.issue(Tier.DEVICE, 4, days=7)
    sensors.until_whole()
    assert device.post(contribution(every_exit, 4), device=4)[0] == 403
    device.close()


def test_new_keys_under_load_lose_nothing(fleet: LocalFleet, site: Path, sensors: Sensors) -> None:
    authority, over = Authority(site), Event()
    before = {folder: each.serial for folder, each in authority.shown.items()}

    def shown() -> set[str]:
        """Serial numbers that the tiers show to new connections."""
        return {serial(member.url, site) for member in fleet.members.values()}

    def rotate() -> None:
        until = time.monotonic() + PATIENCE_S
        for _ in range(2):
            new = {each.serial for each in authority.rotate(before, days=7)}
            while shown() != new and time.monotonic() < until:
                pass
        over.set()

    thread = Thread(target=rotate)
    thread.start()
    answers = []
    while not over.is_set():
        answers += sensors.see(slice(0, 8), wait_ms=5000)
    thread.join()
    assert shown() == {each.serial for each in authority.shown.values()}
    assert not shown() & {*before.values()}
    assert not [answer.degraded_reason for answer in answers if answer.degraded or not answer.devices.all()]


def serial(url: str, site: Path) -> str:
    """Of the certificate that a tier shows, in hexadecimal."""
    caller = Caller(url, site)
    certificate = caller.certificate()
    caller.close()
    return f"{int(str(certificate['serialNumber']), 16):x}"


class FalseEdge:
    """Whoever answers where the edge should, and notes every byte that it is told."""

    def __init__(self, folder: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "tier.pem")
        self.heard, self._ready = bytearray(), Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> "FalseEdge":
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._listen, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._over.wait()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                self.heard += data
        writer.close()


@pytest.mark.parametrize(
    ("shows", "why"),
    [
        ("device-1", "it has the certificate of device 1 of site, not of edge 0"),
        ("cloud-0", "it has the certificate of cloud 0 of site, not of edge 0"),
        ("stranger", "certificate verify failed"),
    ],
)
def test_a_false_edge_is_told_nothing_and_not_followed(
    every_exit: Bundle, fleet: LocalFleet, site: Path, tmp_path: Path, shows: str, why: str
) -> None:
    folder = site / shows
    if shows == "stranger":
        stranger = Authority.create(tmp_path / "stranger", "site")
        stranger.issue(Tier.EDGE, 0, days=7)
        folder = stranger.folder / "edge-0"
    env = {"DDNN_IDENTITY": str(site / "device-0"), "DDNN_TOKEN": TOKEN, "DDNN_POLICY_POLL_S": "0.05"}
    with ExitStack() as stack:
        edge = stack.enter_context(FalseEdge(folder))
        up = ("--bundle", str(every_exit.path), "--upstream", f"https://127.0.0.1:{edge.port}")
        port = stack.enter_context(serve_tier(tmp_path / "device.log", "device", *up, **env))
        device = stack.enter_context(Client(f"https://127.0.0.1:{port}", TOKEN))
        answer = device.infer(every_exit.golden["view_0"][:1], threshold=0.0)[0]
        assert (answer.exit, answer.degraded_reason) == (Exit.DEVICE, "unreachable")
        until = time.monotonic() + PATIENCE_S
        while why not in str(device.status()["policy"]["not_followed_because"]):
            assert time.monotonic() < until, device.status()["policy"]
        assert device.status()["policy"]["source"] == "bundle"
        assert not edge.heard


def test_a_tier_with_an_identity_asks_no_one_in_plain_http(site: Path, fleet: LocalFleet) -> None:
    with pytest.raises(BadConfig, match=r"DDNN_IDENTITY is .*'http://edge:8000'; expected an https:// address"):
        Settings.load(identity=site / "device-0", upstream="http://edge:8000")
    with pytest.raises(BadConfig, match=r"DDNN_TLS_CERTIFICATE or DDNN_TLS_KEY is set too"):
        Settings.load(identity=site / "device-0", tls_certificate="tier.pem")


def test_plain_http_is_for_loopback_and_the_log_says_so(tmp_path: Path) -> None:
    for host, words in [
        ("127.0.0.1", "serves plain HTTP, on loopback only"),
        ("0.0.0.0", "0.0.0.0 is no loopback address, and DDNN_IDENTITY is not set"),
    ]:
        with serve_tier(tmp_path / f"{host}.log", "cloud", "--host", host):
            assert words in (tmp_path / f"{host}.log").read_text()


def test_a_container_is_healthy_by_the_same_probe(fleet: LocalFleet, site: Path) -> None:
    env = {"DDNN_PORT": fleet.cloud_url.rpartition(":")[2], "DDNN_IDENTITY": "its path"}
    assert subprocess.run([sys.executable, "-I", "-S", probe.__file__], env=env, check=False).returncode == 0


@pytest.mark.long
def test_another_authority_under_load_loses_nothing_and_what_the_old_one_signed_is_refused(
    fleet: LocalFleet, site: Path, every_exit: Bundle, tmp_path: Path
) -> None:
    """Last of the fleet's tests: its callers must trust what they have read since."""
    stolen, over = Path(shutil.copytree(site / "device-4", tmp_path / "stolen")), Event()
    names = Authority(site).trusts

    def step(expected: int) -> None:
        """As an operator takes it: then wait until every tier has read its folder."""
        assert Authority(site).replace(days=7) == expected
        trusts, until = Authority(site).trusts, time.monotonic() + PATIENCE_S
        new = {each.serial for each in Authority(site).shown.values() if not each.revoked}
        while trusting(fleet) != {tuple(trusts)} or {serial(m.url, site) for m in fleet.members.values()} != new:
            assert time.monotonic() < until

    step(1)
    callers = Sensors(every_exit, fleet, "both ", token=TOKEN)  # who has read authority.pem again
    edge = Caller(fleet.edge_urls[0], site, stolen)
    assert edge.post(contribution(every_exit, 4), device=4)[0] == 200

    def rotate() -> None:
        try:
            step(2)
            step(0)
        finally:
            over.set()

    answers = []
    with ThreadPoolExecutor(1) as thread, callers.client:
        turned = thread.submit(rotate)
        while not over.is_set():
            answers += callers.see(slice(0, 8), wait_ms=5000)
        turned.result()
        answers += callers.see(slice(0, 8), wait_ms=5000)
    assert len(answers) >= 16
    assert not [answer.degraded_reason for answer in answers if answer.degraded or not answer.devices.all()]
    assert Authority(site).trusts == [f"{names[0]} 2"]
    status, said = edge.post(contribution(every_exit, 4), device=4)  # over a connection that was kept
    assert (status, "not trusted any more" in str(said)) == (403, True)
    edge.close()
    with closing(Caller(fleet.edge_urls[0], site, stolen)) as again, pytest.raises((ssl.SSLError, OSError)):
        again.post(contribution(every_exit, 4), device=4)


def trusting(fleet: LocalFleet) -> set[tuple[str, ...]]:
    """Whom the tiers trust."""
    statuses = read_statuses({name: member.url for name, member in fleet.members.items()}, TOKEN)
    return {tuple(tier.part("identity").get("trusts", ())) for tier in statuses}
