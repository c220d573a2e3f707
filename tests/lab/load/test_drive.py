"""Load on targets that do as they are told."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from ddnn.errors import BadInput
from ddnn_lab.load import Closed, HttpTarget, Outcome, Poisson, measure, measure_async


@dataclass
class Stalling:
    """Answers at once, but stands still once, as a server that collects its rubbish does."""

    stall_s: float = 0.0
    numbers: list[int] = field(default_factory=list)
    closed: bool = False

    async def __call__(self, number: int) -> Outcome:
        self.numbers.append(number)
        if number == 0 and self.stall_s:
            import time

            time.sleep(self.stall_s)  # noqa: ASYNC251  # the whole loop stands still
        return Outcome(True)

    async def aclose(self) -> None:
        self.closed = True


async def test_a_generator_that_is_held_up_counts_what_events_waited_for_it() -> None:
    target = Stalling(stall_s=0.3)
    found = await measure_async(target, Poisson(200, seed=1), seconds=0.4, warm_up_s=0)
    assert found.events == len(Poisson(200, seed=1).times(0.4))
    assert found.latency_ms is not None
    assert found.late_ms is not None
    # Each answer took no time; whoever was due while all stood still waited up to 300 ms.
    assert found.latency_ms["max"] > 200
    assert found.latency_ms["p50"] > 20
    assert found.late_ms["max"] > 200
    assert target.closed


async def test_a_closed_loop_has_as_many_at_once_as_it_has_clients() -> None:
    at_once = most = 0

    class Counting(Stalling):
        async def __call__(self, number: int) -> Outcome:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.005)
            at_once -= 1
            return Outcome(number % 2 == 0, errors=("NO",) if number % 2 else ())

    found = await measure_async(Counting(), Closed(3), seconds=0.2, warm_up_s=0.05)
    assert most == 3
    assert 0 < found.answered < found.events
    assert set(found.errors) == {"NO"}


class Echo(BaseHTTPRequestHandler):
    """Says what it was sent; refuses `no`, and what begins with `!` ends the connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body.startswith(b"!"):
            self.close_connection = True
            return
        self.send_response(503 if body == b"no" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    """Address of a plain HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/echo"
        server.shutdown()
        thread.join()


def read(number: int, body: bytes) -> Outcome:
    return Outcome(True, label=int(body), right=int(body) == number)


def test_any_http_service_can_be_loaded(echo: str) -> None:
    found = measure(
        HttpTarget(echo, [b"0", b"1", b"no", b"!", b"what", b"7"], read), Closed(2), seconds=0.3, warm_up_s=0
    )
    assert found.labelled > 0
    assert found.right / found.labelled == pytest.approx(2 / 3, abs=0.2)
    assert set(found.errors) == {"503", "NO_CONNECTION", "NONSENSE"}
    assert found.cpu_s["client"] > 0


def test_load_may_come_from_several_processes(echo: str) -> None:
    target = HttpTarget(echo, [b"0", b"1"], partial(Outcome, True))
    found = measure(target, Closed(3), seconds=0.2, warm_up_s=0, workers=2)
    assert found.workers == 2
    assert found.answered == found.events > 0


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadInput, match="ftp://x"):
        HttpTarget("ftp://x", [b""], read)
