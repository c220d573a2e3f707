"""Streams or HTTP, on real ports: the same answers to every golden event, and HTTP where no stream is to be had."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

import ddnn_cloud.app
import ddnn_device.app
import ddnn_edge.app
from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle
from ddnn.settings import Settings
from ddnn.types import Answer, Exit
from ddnn.uplink import Uplink
from ddnn.wire import HEADER_LENGTH, decode_response, encode_request
from ddnn_lab.in_process import Fleet
from real_port import post, serving


@asynccontextmanager
async def tiers(bundle: Bundle, *, device: str, edge: str) -> AsyncIterator[list[int]]:
    """A cloud, its edge and all devices on real ports; those two ask by these transports. The devices' ports."""
    given: dict[str, Any] = {"bundle": bundle.path, "threads": 1, "max_lag_ms": 0}
    async with AsyncExitStack() as stack:

        async def serve(make: Any, above: int = 0, transport: str = "http", index: int = 0) -> int:
            own = {"upstream": f"http://127.0.0.1:{above}"} if above else {}
            app: FastAPI = make(Settings.load(index=index, uplink={"transport": transport}, **own, **given))
            stack.push_async_callback(app.state.service.close)
            return await stack.enter_async_context(serving(app))

        cloud = await serve(ddnn_cloud.app.create_app)
        middle = await serve(ddnn_edge.app.create_app, cloud, edge)
        count = len(bundle.topology.devices)
        yield [await serve(ddnn_device.app.create_app, middle, device, index) for index in range(count)]


async def answered(ports: list[int], bundle: Bundle, name: str, **asked: Any) -> list[list[Answer]]:
    """What each device is answered to all golden events."""

    async def watched(device: int) -> list[Answer]:
        views = bundle.golden[f"view_{device}"]
        ids = np.array([f"{name} {row}".encode() for row in range(len(views))], np.object_)
        body, headers = encode_request({"view": views, "event": ids}, parameters=asked)
        reply = await post(ports[device], body, **headers, x_ddnn_deadline_ms="30000")
        assert reply.status == 200, reply.body
        return outputs_to_answers(decode_response(reply.body, reply.headers[HEADER_LENGTH.lower()]).outputs)

    return await asyncio.gather(*map(watched, range(len(ports))))


@pytest.mark.parametrize(
    ("device", "edge"),
    [
        ("stream", "stream"),
        pytest.param("stream", "http", marks=pytest.mark.long),
        pytest.param("http", "stream", marks=pytest.mark.long),
    ],
)
async def test_streams_give_the_answers_of_http_to_every_golden_event(
    tiny_bundle: Bundle, device: str, edge: str
) -> None:
    bundle, found = Bundle.open(tiny_bundle.path), list[list[Answer]]()
    for transports in ({"device": "http", "edge": "http"}, {"device": device, "edge": edge}):
        async with tiers(bundle, **transports) as ports:
            every: list[Answer] = []
            for threshold in (1.0, 0.0):
                name = f"at {threshold}"
                for answers in await answered(ports, bundle, name, wait_ms=20_000, threshold=threshold):
                    every += answers
            found.append(every)
    assert {answer.exit for answer in found[0]} == {Exit.LOCAL, Exit.CLOUD}
    for one, two in zip(*found, strict=True):
        for name in ("label", "exit", "degraded", "degraded_reason", "policy_version", "bytes_up", "late"):
            assert getattr(one, name) == getattr(two, name)
        assert one.devices.tolist() == two.devices.tolist()
        assert np.abs(one.probabilities - two.probabilities).max() < 2e-4  # two streams, 1/16,383 each


@asynccontextmanager
async def refusing(port: int, said: bytes | None) -> AsyncIterator[int]:
    """A proxy before `port`: an offer of a stream it answers by itself, or, with nothing to say, takes for a GET."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: " in head and said is not None:
                writer.write(said)
                writer.close()
                return
            up, down = await asyncio.open_connection("127.0.0.1", port)
            down.write(head.replace(b"connection: Upgrade\r\nupgrade: ddnn-stream/1\r\n", b""))
            await asyncio.gather(carry(reader, down), carry(up, writer))

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="takes the offer away"),
        pytest.param(b"", id="closes"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", id="400"),
        pytest.param(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!", id="403"),
        pytest.param(b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\n\r\n", id="502"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", id="200"),
    ],
)
async def test_what_lets_no_stream_through_is_asked_by_http_and_the_log_says_so_once(
    fleet: Fleet, said: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    bundle, cloud = Bundle.open(fleet.bundle.path), fleet.switch.apps["cloud"]
    classes, devices = len(bundle.manifest.classes), len(bundle.topology.devices)
    given: dict[str, Any] = {"bundle": bundle.fingerprint, "classes": classes, "devices": devices, "tier": "edge/0"}
    inputs = {
        "features": bundle.golden["edge_features"][:1, 0],
        "present": bundle.golden["present"][:1].astype(np.bool_),
    }
    async with (
        serving(cloud) as port,
        refusing(port, said) as middle,
        Uplink([f"http://127.0.0.1:{middle}"], **given) as stream,
    ):
        for _ in range(3):
            reply = await stream.infer(inputs, parameters={"edge": 0}, deadline_ms=20_000)
            assert len(reply.answers) == 1
        assert not stream.streams.spoken
        assert stream.circuit == "closed"
    assert caplog.text.count("takes no stream (") == 1
