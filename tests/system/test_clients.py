"""Callers of served processes, on the event loop that these run on: half-closed, leaving, and asking for heads."""

import http.client
import json
import os
import socket
import sys
from contextlib import closing
from subprocess import PIPE
from threading import Timer
from time import monotonic

import pytest

from ddnn.client import Client
from ddnn.fleet.processes import LocalFleet
from warm_start import POPEN

PATIENCE_S = 30


def example(url: str) -> bytes:
    """The request that the tier's own page shows."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/openapi.json")
        page = json.loads(connection.getresponse().read())
    body = page["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]["example"]
    return json.dumps(body).encode()


def request(body: bytes) -> bytes:
    return b"POST /v2/models/ddnn/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


@pytest.fixture(params=["device", "edge", "cloud"])
def url(request: pytest.FixtureRequest, served: LocalFleet) -> str:
    return {"device": served.device_urls[0], "edge": served.edge_urls[0], "cloud": served.cloud_url}[request.param]


def test_a_caller_that_closes_its_sending_half_is_answered(url: str) -> None:
    body = example(url)
    for _ in range(20):
        with connect(url) as connection:
            connection.sendall(request(body))
            connection.shutdown(socket.SHUT_WR)
            given = b"".join(iter(lambda: connection.recv(65536), b""))
        assert given.startswith(b"HTTP/1.1 200 OK\r\n")
        assert given.count(b"HTTP/1.1") == 1


def test_a_caller_that_has_left_is_noticed_though_it_only_ended_its_half(served: LocalFleet) -> None:
    url = served.edge_urls[0]
    tensor = {"name": "event", "datatype": "BYTES", "shape": [1], "data": [f"left at {monotonic()}"]}
    document = json.loads(example(url))
    inputs = [entry for entry in document["inputs"] if entry["name"] == "scores"]
    document |= {"inputs": [*inputs, tensor]}
    document["parameters"] |= {"wait_ms": 600_000, "timeout": 600_000_000}
    with Client(url) as client:
        before = client.status()["requests"]
        with connect(url) as connection:
            connection.sendall(request(json.dumps(document).encode()))
        until = monotonic() + PATIENCE_S
        while client.status()["requests"] == before:  # counted when it ends; the event itself has minutes
            assert monotonic() < until


@pytest.mark.parametrize(
    ("host", "env", "says"),
    [
        ("127.0.0.1", {"DDNN_TOKEN": "short"}, "error: DDNN_TOKEN cannot be a token: it has 5 characters"),
        ("127.0.0.1", {"DDNN_TOKEN": "sixteen-or-more\r\nx: y"}, "error: DDNN_TOKEN cannot be a token: it has a space"),
        ("0.0.0.0", {}, "0.0.0.0 is no loopback address, and DDNN_TOKEN is not set"),
        ("0.0.0.0", {"DDNN_TOKEN": "long-enough-for-a-token"}, "and DDNN_IDENTITY is not set"),
    ],
)
def test_a_tier_that_strangers_may_reach_or_guess_says_so_when_it_starts(
    host: str, env: dict[str, str], says: str
) -> None:
    command = [sys.executable, "-m", "ddnn", "serve", "cloud", "--host", host, "--port", "0"]
    with POPEN(command, env={**os.environ, **env}, stderr=PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        late = Timer(PATIENCE_S, process.kill)
        late.start()
        for line in process.stderr:
            lines.append(line)
            if says in line:
                break
        late.cancel()
        process.terminate()
    text = "".join(lines)
    assert says in text
    assert "Traceback" not in text
    assert not any(token in text for token in env.values())


def test_a_head_has_no_body_and_the_connection_stays_in_step(url: str) -> None:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)) as connection:
        for path in ("/v2/health/ready", "/v2/status", "/metrics", "/v2/policy", "/nowhere"):
            connection.request("HEAD", path)
            assert connection.getresponse().read() == b""
            connection.request("GET", "/livez")
            assert json.loads(connection.getresponse().read()) == {"live": True}
