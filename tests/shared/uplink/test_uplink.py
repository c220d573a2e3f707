"""An answer or a reason, always within the deadline."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import numpy as np
import pytest

from ddnn.answers import answers_to_outputs
from ddnn.errors import Overloaded, UplinkFailed
from ddnn.types import Answer, Exit
from ddnn.uplink import NoReply, Uplink
from ddnn.wire import HEADER_LENGTH, decode_request, encode_error, encode_response

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]
INPUTS = {"features": np.array([[1, 2, 3]], np.uint8)}
ANSWER = Answer(1, np.array([0.25, 0.75], np.float32), Exit.CLOUD, 0.5, np.array([True, True]), 3)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(request: httpx.Request) -> httpx.Response:
    decoded = decode_request(request.content, request.headers[HEADER_LENGTH])
    body, headers = encode_response(answers_to_outputs([ANSWER], need_features=False), decoded)
    return httpx.Response(200, content=body, headers={**headers, "server-timing": "section;dur=1"})


class Upper:
    """A tier above that does what the test says, one entry a request: a status, an exception, or `hang`."""

    def __init__(self, *script: int | Exception | str, clock: Clock | None = None) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []
        self.retry_after: str | None = None
        self.clock = clock

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.script.pop(0) if self.script else 200
        if self.clock:
            self.clock.now += 0.010
        if isinstance(step, Exception):
            raise step
        if step == "hang":
            await asyncio.Event().wait()
        if step == "garbage":
            return httpx.Response(200, content=b"<html>")
        if step == "empty":
            return httpx.Response(200, content=b'{"outputs":[]}')
        if step == 200:
            return answer(request)
        headers = {"retry-after": self.retry_after} if self.retry_after else {}
        body = encode_error(Overloaded("no room"), request_id="", tier="cloud")
        return httpx.Response(int(step), content=body, headers=headers)


def uplink(
    *uppers: Upper, clock: Clock | None = None, pauses: list[float] | None = None, classes: int | None = None
) -> Uplink:
    async def route(request: httpx.Request) -> httpx.Response:
        return await uppers[int(request.url.host[1:])](request)

    async def pause(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)

    return Uplink(
        [f"http://u{index}" for index in range(len(uppers))],
        bundle="abc",
        token="secret",
        classes=classes,
        transport=httpx.MockTransport(route),
        clock=clock or Clock(),
        pause=pause,
    )


def circuit(link: Uplink) -> str:
    return link.circuit


async def reason(link: Uplink, deadline_ms: float = 1000) -> str:
    with pytest.raises(NoReply) as caught:
        await link.infer(INPUTS, deadline_ms=deadline_ms)
    assert isinstance(caught.value, UplinkFailed)
    assert str(caught.value)
    return caught.value.reason


async def test_a_reply_has_answers_headers_and_sizes() -> None:
    clock = Clock()
    upper = Upper(clock=clock)
    async with uplink(upper, clock=clock) as link:
        assert link.round_trip_ms is None
        reply = await link.infer(
            INPUTS, deadline_ms=250.9, parameters={"edge": 0}, headers={"x-request-id": "r", "traceparent": "t"}
        )
        assert link.round_trip_ms == pytest.approx(10)
    assert [row.label for row in reply.answers] == [1]
    sent = upper.requests[0]
    assert reply.bytes_sent == len(sent.content)
    assert reply.seconds == pytest.approx(0.01)
    assert reply.bytes_received > 0
    assert reply.headers["server-timing"] == "section;dur=1"
    assert {name: sent.headers[name] for name in ("x-request-id", "traceparent", "x-ddnn-bundle", "authorization")} == {
        "x-request-id": "r",
        "traceparent": "t",
        "x-ddnn-bundle": "abc",
        "authorization": "Bearer secret",
    }
    assert sent.headers["x-ddnn-deadline-ms"] == "250"
    assert decode_request(sent.content, sent.headers[HEADER_LENGTH]).parameters == {"edge": 0}


async def test_a_refusal_is_kept_until_the_tier_above_answers() -> None:
    upper = Upper(403, 200)
    async with uplink(upper) as link:
        assert link.refusal is None
        assert await reason(link) == "unauthorized"
        assert "answered 403" in str(link.refusal)
        await link.infer(INPUTS, deadline_ms=1000)
        assert link.refusal is None


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (400, "error"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "error"),
        (409, "other_bundle"),
        (500, "error"),
        (504, "timeout"),
        ("garbage", "bad_answer"),
        ("empty", "bad_answer"),
        (httpx.ReadError("broken"), "unreachable"),
        (httpx.RemoteProtocolError("?"), "bad_answer"),
        (OSError("no such host"), "unreachable"),
    ],
)
async def test_every_failure_has_its_reason_and_is_not_tried_again(step: int | Exception | str, expected: str) -> None:
    upper = Upper(step)
    async with uplink(upper) as link:
        assert await reason(link) == expected
    assert len(upper.requests) == 1


async def test_an_answer_of_wrong_sizes_is_a_bad_answer() -> None:
    async with uplink(Upper(), classes=10) as link:
        with pytest.raises(NoReply, match=r"nonsense.*expected FP32 \[1, 10\]") as caught:
            await link.infer(INPUTS, deadline_ms=1000)
    assert caught.value.reason == "bad_answer"


@pytest.mark.parametrize("step", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), 429, 503])
async def test_what_may_pass_is_tried_once_more(step: int | Exception) -> None:
    upper = Upper(step)
    async with uplink(upper) as link:
        reply = await link.infer(INPUTS, deadline_ms=1000)
    assert len(upper.requests) == 2
    assert reply.bytes_sent == 2 * len(upper.requests[0].content)

    twice = Upper(step, step)
    async with uplink(twice) as link:
        assert await reason(link) == ("refused" if isinstance(step, int) else "unreachable")
    assert len(twice.requests) == 2


async def test_retry_after_is_obeyed_while_half_the_budget_allows() -> None:
    pauses: list[float] = []
    upper = Upper(429, 200, 429)
    upper.retry_after = "1"
    async with uplink(upper, pauses=pauses) as link:
        await link.infer(INPUTS, deadline_ms=3000)
        assert pauses == [1.0]
        assert await reason(link, deadline_ms=1500) == "refused"
    assert len(upper.requests) == 3


async def test_the_second_try_is_told_of_less_time() -> None:
    clock = Clock()
    upper = Upper(httpx.ConnectError("refused"), clock=clock)
    async with uplink(upper, clock=clock) as link:
        await link.infer(INPUTS, deadline_ms=100.5)
    assert [request.headers["x-ddnn-deadline-ms"] for request in upper.requests] == ["100", "90"]


async def test_retries_end_with_their_budget() -> None:
    uppers = [Upper(*[503] * 200), Upper(*[503] * 200)]
    async with uplink(*uppers) as link:
        for _ in range(200):
            await reason(link)
    assert sum(len(upper.requests) for upper in uppers) < 2 * 5 + 30


async def test_no_budget_means_no_request() -> None:
    upper = Upper()
    async with uplink(upper) as link:
        assert await reason(link, deadline_ms=0.5) == "deadline"
        assert await reason(link, deadline_ms=-3) == "deadline"
    assert upper.requests == []


async def test_a_tier_that_hangs_costs_the_deadline_and_no_more() -> None:
    async with uplink(Upper("hang")) as link:
        assert await reason(link, deadline_ms=20) == "timeout"


async def test_the_circuit_opens_and_one_probe_closes_it() -> None:
    clock = Clock()
    upper = Upper(*[500] * 6)
    async with uplink(upper, clock=clock) as link:
        assert [await reason(link) for _ in range(7)] == ["error"] * 5 + ["circuit_open"] * 2
        assert (circuit(link), len(upper.requests)) == ("open", 5)
        clock.now += 1
        assert circuit(link) == "half_open"
        assert await reason(link) == "error"
        clock.now += 2
        await link.infer(INPUTS, deadline_ms=1000)
        assert circuit(link) == "closed"


@pytest.mark.parametrize(("step", "classes"), [("garbage", 2), ("empty", 2), (200, 10)])
async def test_nonsense_opens_the_circuit(step: int | str, classes: int) -> None:
    async with uplink(Upper(*[step] * 9), classes=classes) as link:
        assert [await reason(link) for _ in range(7)] == ["bad_answer"] * 5 + ["circuit_open"] * 2


async def test_an_answer_for_another_number_of_rows_is_nonsense() -> None:
    async with uplink(Upper()) as link:
        with pytest.raises(NoReply, match="nonsense") as caught:
            await link.infer({"features": np.zeros((2, 3), np.uint8)}, deadline_ms=1000)
        assert caught.value.reason == "bad_answer"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
async def test_a_fault_of_configuration_does_not_open_the_circuit(status: int) -> None:
    async with uplink(Upper(*[status] * 20)) as link:
        for _ in range(20):
            await reason(link)
        assert circuit(link) == "closed"


async def test_an_impatient_caller_does_not_open_the_circuit_for_the_others() -> None:
    clock = Clock()
    async with uplink(Upper(200, *["hang"] * 10, clock=clock), clock=clock) as link:
        await link.infer(INPUTS, deadline_ms=1000)
        for _ in range(10):
            assert await reason(link, deadline_ms=5) == "timeout"
        assert circuit(link) == "closed"


async def test_a_refused_connection_counts_however_little_time_there_was() -> None:
    async with uplink(Upper(*[httpx.ConnectError("refused")] * 20)) as link:
        for _ in range(3):
            assert await reason(link, deadline_ms=15) == "unreachable"
        assert circuit(link) == "open"


async def test_the_next_address_is_asked_when_the_first_fails() -> None:
    first, second = Upper(*[httpx.ConnectError("refused")] * 20), Upper()
    async with uplink(first, second) as link:
        for _ in range(8):
            await link.infer(INPUTS, deadline_ms=1000)
        assert (len(first.requests), len(second.requests)) == (5, 8)
        assert circuit(link) == "closed"


async def test_a_cancelled_probe_does_not_keep_the_circuit_from_closing() -> None:
    clock = Clock()
    async with uplink(Upper(*[500] * 5, "hang"), clock=clock) as link:
        for _ in range(5):
            await reason(link)
        clock.now += 1
        probe = asyncio.create_task(link.infer(INPUTS, deadline_ms=1000))
        for _ in range(20):
            await asyncio.sleep(0)
        assert await reason(link) == "circuit_open"
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        await link.infer(INPUTS, deadline_ms=1000)
        assert circuit(link) == "closed"


class Port:
    """A real listening socket that sends each connection the same bytes, then waits for its end."""

    def __init__(self, send: bytes) -> None:
        self.send, self.seen, self.left = send, asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.seen.set()
            writer.write(self.send)
            while await reader.read(65536):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.left.set()


@pytest.fixture
async def port(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Port, Uplink]]:
    port = Port(getattr(request, "param", b""))
    server = await asyncio.start_server(port.serve, "127.0.0.1", 0)
    host, number = server.sockets[0].getsockname()
    link = Uplink([f"http://{host}:{number}"], bundle="abc", max_response_bytes=1000)
    yield port, link
    await link.aclose()
    server.close()
    if port.seen.is_set():
        await asyncio.wait_for(port.left.wait(), 5)


async def test_a_cancelled_request_leaves_no_connection_behind(port: tuple[Port, Uplink]) -> None:
    server, link = port
    task = asyncio.create_task(link.infer(INPUTS, deadline_ms=5000))
    await server.seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.left.wait(), 5)


async def test_a_silent_server_costs_the_deadline_and_no_connection(port: tuple[Port, Uplink]) -> None:
    server, link = port
    assert await reason(link, deadline_ms=50) == "timeout"
    await asyncio.wait_for(server.left.wait(), 5)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000, "bad_answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "bad_answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}", "timeout"),
    ],
    indirect=["port"],
)
async def test_whatever_a_socket_says_becomes_a_reason(port: tuple[Port, Uplink], expected: str) -> None:
    _, link = port
    assert await reason(link, deadline_ms=200) == expected


async def test_nobody_listening_is_unreachable() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, number = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    async with Uplink([f"http://{host}:{number}"], bundle="abc") as link:
        assert await reason(link) == "unreachable"


async def test_a_name_that_hangs_in_dns_costs_the_budget_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        released.wait(30)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        async with Uplink(["http://cloud:8000"], bundle="abc") as link:
            assert await reason(link, deadline_ms=30) in ("unreachable", "timeout")
    finally:
        released.set()
