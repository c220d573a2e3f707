"""Frames of one connection are taken in turns: a heap of them leaves the loop to others, and none is lost."""

import asyncio
import time
from typing import cast

from ddnn.errors import BadInput
from ddnn.stream.frames import Up, framed
from ddnn.stream.line import Line
from real_port import until

FRAMES, EACH_S, OTHERS = 40, 0.001, 2


class Slow(Line):
    """Takes a millisecond of CPU for a frame."""

    def __init__(self) -> None:
        super().__init__(most=100, others=OTHERS)
        self.taken: list[int] = []
        self.broken: list[BadInput] = []

    def take(self, kind: int, payload: bytes) -> None:
        until = time.thread_time() + EACH_S
        while time.thread_time() < until:
            pass
        if payload == b"no":
            raise BadInput("no")
        self.taken.append(int(payload))

    def nonsense(self, error: BadInput) -> None:
        self.broken.append(error)


class Paused:
    """A transport that only tells whether it is read."""

    reads, closing = True, False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.closing


def _line() -> tuple[Slow, Paused]:
    line, transport = Slow(), Paused()
    line.begin(cast(asyncio.Transport, transport))
    return line, transport


def _frames(*payloads: object) -> bytes:
    return b"".join(framed(Up.PING, str(payload).encode()) for payload in payloads)


async def test_a_heap_of_frames_is_taken_in_turns_and_nothing_is_read_between_them() -> None:
    line, transport = _line()
    turns, most = [0], 0.0
    line.data_received(_frames(*range(FRAMES)))
    while len(line.taken) < FRAMES:
        assert not transport.reads
        turns.append(len(line.taken))
        before, own = time.perf_counter(), len(line.taken)
        while len(line.taken) == own:  # noqa: ASYNC110 — a turn of the loop at a time
            await asyncio.sleep(0)
        most = max(most, time.perf_counter() - before)
    assert line.taken == [*range(FRAMES)]
    assert len(turns) > FRAMES * EACH_S / 0.005 / 2
    assert most >= OTHERS * 0.005  # of the loop, others had as much for each of them


async def test_what_has_come_on_the_way_to_the_pause_keeps_its_order() -> None:
    line, transport = _line()
    line.data_received(_frames(*range(FRAMES)))
    line.data_received(_frames(*range(FRAMES, 2 * FRAMES)))
    await until(lambda: len(line.taken) == 2 * FRAMES)
    assert line.taken == [*range(2 * FRAMES)]
    assert not line.broken
    await asyncio.sleep(0.05)
    assert transport.reads


async def test_nonsense_in_a_later_turn_is_told_and_what_follows_is_not_taken() -> None:
    line, _ = _line()
    line.data_received(_frames(*range(FRAMES), "no", "1"))
    await until(lambda: bool(line.broken))
    await asyncio.sleep(0.05)
    assert line.taken == [*range(FRAMES)]


async def test_a_long_frame_after_which_none_waits_stops_nothing() -> None:
    line, transport = _line()
    for number in range(20):
        line.data_received(_frames(number))
    assert transport.reads
    assert line.taken == [*range(20)]


async def test_frames_of_a_connection_that_is_gone_are_not_taken() -> None:
    line, transport = _line()
    line.data_received(_frames(*range(FRAMES)))
    transport.closing, own = True, len(line.taken)
    await asyncio.sleep(0.1)
    assert len(line.taken) == own < FRAMES
