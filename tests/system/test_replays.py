"""Old messages sent again, once the events that they were of are forgotten: from the network, and by a tier itself."""

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client.admin import Admin
from ddnn.fleet.processes import LocalFleet
from ddnn.types import Exit
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import encode_request
from real_fleet import PATIENCE_S, Sensors

TOKEN = "callers-of-this-site-have-it"
HOLD_S = 1.0
"""How long a tier here remembers an event, 30 s elsewhere."""
ROWS = slice(0, 16)
LIAR = 5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replays") / "site"


@pytest.fixture(scope="module")
def fleet(every_exit: Bundle, site: Path) -> Iterator[LocalFleet]:
    env = {"DDNN_TOKEN": TOKEN, "DDNN_COLLECTOR__HOLD_S": f"{HOLD_S}", "DDNN_MAX_LAG_MS": "0"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(site / "authority.pem"))
        with LocalFleet(every_exit.path, base_port=0, identity=site, env=env) as fleet:
            fleet.wait_until_ready(seconds=120)
            yield fleet


def context(site: Path, folder: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=site / "authority.pem")
    made.load_cert_chain(site / folder / "tier.pem")
    return made


def contribution(bundle: Bundle, row: int, event: str) -> tuple[bytes, dict[str, str]]:
    """What the last device sends the edge of a golden event."""
    scores, features = (bundle.golden[f"device_{name}"][row : row + 1, LIAR] for name in ("scores", "features"))
    scores = bundle.topology.score_codec(Exit.DEVICE).pack(scores)
    ids = np.array([event.encode()], np.object_)
    return encode_request(
        {"event": ids, "scores": scores, "features": features}, parameters={"device": LIAR, "wait_ms": 0}
    )


def requests(fleet: LocalFleet) -> float:
    """How many the edge has counted."""
    with Admin(fleet.edge_urls[0], timeout_s=PATIENCE_S) as edge:
        text = edge.metrics()
    counts = [line for line in text.splitlines() if line.startswith("ddnn_requests_total")]
    return sum(float(line.split()[-1]) for line in counts)


def test_what_was_read_on_its_way_is_nothing_when_it_is_sent_again(
    every_exit: Bundle, fleet: LocalFleet, site: Path
) -> None:
    """Each byte that a device has sent, as whoever has the network reads it."""
    port = int(fleet.edge_urls[0].rpartition(":")[2])
    body, headers = contribution(every_exit, 0, "recorded")
    lines = [f"POST {INFER_PATH} HTTP/1.1", "host: x", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(site, f"device-{LIAR}").wrap_bio(came, goes, server_hostname="localhost")
    recorded: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as device:

        def flush() -> None:
            if data := goes.read():
                recorded.append(data)
                device.sendall(data)

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                flush()
                came.write(device.recv(1 << 16))
        tls.write("\r\n".join([*lines, "", ""]).encode() + body)
        flush()
        while True:
            try:
                assert tls.read(1 << 16).startswith(b"HTTP/1.1 200")
                break
            except ssl.SSLWantReadError:
                came.write(device.recv(1 << 16))
    time.sleep(HOLD_S)
    before = requests(fleet)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as thief:
        try:
            for data in recorded:
                thief.sendall(data)
                time.sleep(0.05)  # as long as a handshake takes
            while thief.recv(1 << 16):
                pass
        except ConnectionError:
            pass  # closed, with something unread
    assert requests(fleet) == before


def test_what_a_device_sends_again_is_of_events_of_its_own(every_exit: Bundle, fleet: LocalFleet, site: Path) -> None:
    """Contributions to events that the others have answered long since, again and again, while they see others."""
    sensors = Sensors(every_exit, fleet, f"{time.monotonic_ns()} ", token=TOKEN)
    sensors.until_whole()
    first = sensors.see(ROWS, wait_ms=5000)
    time.sleep(HOLD_S + 0.5)
    over = False

    def again() -> int:
        host, port = fleet.edge_urls[0].removeprefix("https://").split(":")
        connection = HTTPSConnection(host, int(port), timeout=PATIENCE_S, context=context(site, f"device-{LIAR}"))
        sent = 0
        while not over:
            for row in range(ROWS.stop):
                connection.request("POST", INFER_PATH, *contribution(every_exit, row, f"{old} event {row}"))
                assert connection.getresponse().read()
                sent += 1
        connection.close()
        return sent

    old = f"{sensors._name}round {sensors._round}"
    with ThreadPoolExecutor(1) as thread:
        replayed = thread.submit(again)
        try:
            later = [sensors.see(ROWS, wait_ms=5000) for _ in range(4)]
        finally:
            over = True
    assert replayed.result() >= ROWS.stop
    for answers in later:
        assert [answer.label for answer in answers] == [answer.label for answer in first]
        assert [answer.exit for answer in answers] == [answer.exit for answer in first]
        assert all(answer.devices.all() and not answer.degraded for answer in answers)
    sensors.client.close()
