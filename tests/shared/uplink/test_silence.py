"""An address that says nothing is asked whether it lives; who does not is held off, and others are asked."""

import asyncio
from collections.abc import Callable

import httpx
import numpy as np
import pytest
import uvloop

from ddnn.answers import answers_to_outputs
from ddnn.types import Answer, Exit
from ddnn.uplink import NoReply, Uplink
from ddnn.uplink.health import Target
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import HEADER_LENGTH, decode_request, encode_response

INPUTS = {"features": np.array([[1, 2, 3]], np.uint8)}
ANSWER = Answer(1, np.array([0.25, 0.75], np.float32), Exit.CLOUD, 0.5, np.array([True, True]), 3)


class Upper:
    """A tier above whose answers and whose signs of life may each hang until it is told to go on."""

    def __init__(self, *, answers: bool = True, lives: bool = True) -> None:
        self.answers, self.lives = asyncio.Event(), asyncio.Event()
        for event, open in ((self.answers, answers), (self.lives, lives)):
            if open:
                event.set()
        self.asked, self.looked = 0, 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != INFER_PATH:
            self.looked += 1
            await self.lives.wait()
            return httpx.Response(200)
        self.asked += 1
        await self.answers.wait()
        decoded = decode_request(request.content, request.headers[HEADER_LENGTH])
        body, headers = encode_response(answers_to_outputs([ANSWER], need_features=False), decoded)
        return httpx.Response(200, content=body, headers=headers)


def uplink(*uppers: Upper) -> Uplink:
    async def route(request: httpx.Request) -> httpx.Response:
        return await uppers[int(request.url.host[1:])](request)

    urls = [f"http://u{index}" for index in range(len(uppers))]
    return Uplink(urls, bundle="abc", silence_s=0.01, transport=httpx.MockTransport(route))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        for _ in iter(happened, True):
            await asyncio.sleep(0)


async def test_the_dead_are_held_off_long_before_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddnn.uplink.health._SIGN_S", 0.01)
    upper = Upper(answers=False, lives=False)
    async with uplink(upper) as link:
        hung = asyncio.create_task(link.infer(INPUTS, deadline_ms=60_000))
        await until(lambda: link.circuit == "open")
        with pytest.raises(NoReply) as caught:
            await link.infer(INPUTS, deadline_ms=60_000)
        assert caught.value.reason == "circuit_open"
        upper.answers.set()  # it was only slow: what it says late is an answer, and it is asked again
        await hung
        assert link.circuit == "closed"


async def test_who_waits_for_others_lives_and_is_waited_for() -> None:
    upper = Upper(answers=False)
    async with uplink(upper) as link:
        waiting = asyncio.create_task(link.infer(INPUTS, deadline_ms=60_000))
        await until(lambda: upper.looked == 1)
        assert link.circuit == "closed"
        later = asyncio.create_task(link.infer(INPUTS, deadline_ms=60_000))
        await until(lambda: upper.looked == 2)  # a second call is another question
        assert link.circuit == "closed"
        upper.answers.set()
        await asyncio.gather(waiting, later)


async def test_who_answers_is_not_asked_for_a_sign() -> None:
    upper = Upper()
    async with uplink(upper) as link:
        for _ in range(20):
            await link.infer(INPUTS, deadline_ms=60_000)
    assert upper.looked == 0


async def test_the_calls_of_the_dead_go_to_the_next_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddnn.uplink.health._SIGN_S", 0.01)
    dead, living = Upper(answers=False, lives=False), Upper()
    async with uplink(dead, living) as link:
        for _ in range(3):
            reply = await link.infer(INPUTS, deadline_ms=60_000)
            assert [row.label for row in reply.answers] == [1]
        assert (dead.asked, living.asked, link.circuit) == (1, 3, "closed")


async def test_where_none_is_left_a_probe_does_not_cost_the_answer_that_another_address_gives() -> None:
    clock = [0.0]
    dead, living = Upper(answers=False), Upper(answers=False)

    async def route(request: httpx.Request) -> httpx.Response:
        return await (dead if request.url.host == "u0" else living)(request)

    async with Uplink(
        ["http://u0", "http://u1"], bundle="abc", transport=httpx.MockTransport(route), clock=lambda: clock[0]
    ) as link:
        for _ in range(10):
            with pytest.raises(NoReply):
                await link.infer(INPUTS, deadline_ms=30)
        clock[0] += 10
        living.answers.set()
        await link.infer(INPUTS, deadline_ms=300)
    assert (dead.asked, living.asked) == (6, 6)


def test_a_look_that_is_due_at_once_is_waited_for_like_any_other_on_the_loop_that_serves() -> None:
    """uvloop makes a wait of no time something that does not know its time."""
    asked: list[str] = []

    async def ask(url: str, seconds: float) -> None:
        asked.append(url)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        target = Target("http://u", loop.time, ask=ask, silence_s=0.0, abandon=False)
        async with asyncio.timeout(30) as bound:
            target.waits(1, bound)
            target.waits(2, bound)
            await until(lambda: bool(asked))
        target.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert asked == ["http://u"]
