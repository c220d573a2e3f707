"""An event has one home among several addresses, from everywhere; an address that goes or comes moves few others."""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from ddnn.answers import answers_to_outputs
from ddnn.errors import Unavailable
from ddnn.types import Answer, Exit
from ddnn.uplink import Uplink
from ddnn.uplink.homes import Homes
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import HEADER_LENGTH, decode_request, encode_error, encode_response

URLS = [f"http://u{index}" for index in range(4)]
KEYS = [f"event {number}".encode() for number in range(2000)]
INPUTS = {"features": np.array([[1, 2, 3]], np.uint8)}
ANSWER = Answer(1, np.array([0.25, 0.75], np.float32), Exit.CLOUD, 0.5, np.array([True, True]), 3)


def homes(urls: list[str]) -> dict[bytes, list[str]]:
    """Each event's addresses in their order."""
    found = Homes(urls)
    return {key: [urls[number] for number in found.order(key)] for key in KEYS}


def test_every_edge_finds_the_same_order_whichever_it_was_given() -> None:
    assert homes(URLS) == homes(URLS[::-1])


def test_each_address_is_home_to_as_many_and_those_after_one_are_too() -> None:
    found = homes(URLS)
    for share in (found, {key: order for key, order in found.items() if order[0] == URLS[0]}):
        for place in (0, 1):
            counts = Counter(order[place] for order in share.values() if place or share is found)
            for count in counts.values():
                assert abs(count - sum(counts.values()) / len(counts)) < 4 * np.sqrt(sum(counts.values()))


def test_of_an_address_that_goes_its_events_alone_move_and_each_to_what_was_its_next() -> None:
    before, after = homes(URLS), homes(URLS[1:])
    for key, order in before.items():
        assert after[key] == [url for url in order if url != URLS[0]]


def test_events_without_an_id_go_round() -> None:
    found = Homes(URLS)
    assert {found.order(None)[0] for _ in range(100)} == {0, 1, 2, 3}


class Upper:
    """A tier above that answers, says 503, or is not there; it counts what it was asked."""

    def __init__(self) -> None:
        self.there, self.draining, self.asked, self.looked = True, False, 0, 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != INFER_PATH:
            self.looked += 1
        if not self.there:
            raise httpx.ConnectError("refused")
        if request.url.path != INFER_PATH:
            return httpx.Response(503 if self.draining else 200)
        self.asked += 1
        if self.draining:
            return httpx.Response(503, content=encode_error(Unavailable("draining"), request_id="", tier="cloud"))
        decoded = decode_request(request.content, request.headers[HEADER_LENGTH])
        body, headers = encode_response(answers_to_outputs([ANSWER], need_features=False), decoded)
        return httpx.Response(200, content=body, headers=headers)


def uplink(*uppers: Upper, homes: bool = True) -> Uplink:
    async def route(request: httpx.Request) -> httpx.Response:
        return await uppers[int(request.url.host[1:])](request)

    urls = URLS[: len(uppers)]
    return Uplink(urls, bundle="abc", transport=httpx.MockTransport(route), homes=homes, clock=lambda: 0.0)


async def ask(link: Uplink, key: bytes | None = None) -> None:
    await link.infer(INPUTS, deadline_ms=60_000, key=key)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        for _ in iter(happened, True):
            await asyncio.sleep(0)


async def test_each_event_is_asked_about_at_its_home() -> None:
    uppers = [Upper(), Upper()]
    async with uplink(*uppers) as link:
        for key in KEYS[:50]:
            before = [upper.asked for upper in uppers]
            await ask(link, key)
            home = URLS.index(link.home(key)[0])
            assert uppers[home].asked == before[home] + 1
            assert sum(upper.asked for upper in uppers) == sum(before) + 1


@pytest.mark.parametrize("draining", [False, True])
async def test_all_calls_of_one_that_goes_find_another_whatever_the_retry_budget(draining: bool) -> None:
    gone, other = Upper(), Upper()
    gone.there, gone.draining = draining, draining
    async with uplink(gone, other, homes=False) as link:
        # More at once than there are tokens: all have been sent before the circuit opens.
        await asyncio.gather(*(ask(link) for _ in range(40)))
        assert other.asked == 40


async def test_several_that_are_gone_are_passed_over_by_one_call() -> None:
    uppers = [Upper(), Upper(), Upper(), Upper()]
    for upper in uppers[:3]:
        upper.there = False
    async with uplink(*uppers) as link:
        for key in KEYS[:20]:
            await ask(link, key)
        assert uppers[3].asked == 20
        assert link.home(KEYS[0]) == (URLS[3],)


async def test_one_that_comes_back_is_asked_once_it_is_steadily_ready_and_no_event_tries_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ddnn.uplink.returns._EVERY_S", 0.001)
    first, standby = Upper(), Upper()
    first.there = False
    async with uplink(first, standby, homes=False) as link:
        for _ in range(6):
            await ask(link)
        assert (first.asked, standby.asked) == (0, 6)
        first.there, first.draining = True, True  # up, and not ready
        seen = first.looked
        await until(lambda: first.looked > seen + 8)
        await ask(link)
        assert (first.asked, standby.asked) == (0, 7)
        first.draining = False
        await until(lambda: link._targets[0].breaker.opened is None)
        first.there = False  # once is enough now
        await ask(link)
        assert link._targets[0].breaker.opened is not None
        assert (first.asked, standby.asked) == (0, 8)
        first.there = True
        await until(lambda: link._targets[0].breaker.opened is None)
        await ask(link)
        assert (first.asked, standby.asked) == (1, 8)
