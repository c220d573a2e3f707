"""Streams in the hands of whoever has a tier's key, or none: frames that are wrong in themselves or in their order.

A tier must refuse each in a sentence, close where nothing can follow, and go on with all others.
"""

import asyncio
import gzip
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from ddnn.errors import BadInput
from ddnn.stream.asks import AskWriter
from ddnn.stream.frames import PATH, PROTOCOL, Cut, Down, Up, framed, read_refusal
from ddnn.stream.varints import varint
from ddnn_lab.scans.held import Heard, Held, keep_on
from ddnn_lab.scans.spoil import spoiled

__all__ = ["WAYS", "fuzz_streams", "right_frames"]

_WORKERS: Final = 16
_LISTEN_S: Final = 0.3
_MOST: Final = 32 << 20
_SILENT: Final = 2000  #: connections that say nothing, at most, at once

Frames = list[tuple[int, bytes]]
"""Each a kind and what it says."""
Way = Callable[[Frames, Random], Sequence[bytes]]
"""What is written, one piece after the other, instead of frames that are right."""


def _written(frames: Frames) -> list[bytes]:
    return [framed(kind, payload) for kind, payload in frames]


def _one_spoiled(frames: Frames, chance: Random) -> Sequence[bytes]:
    (kind, payload) = frames[-1]
    return _written([*frames[:-1], (chance.choice((kind, chance.randrange(256))), spoiled(payload, chance))])


def _cut(frames: Frames, chance: Random) -> Sequence[bytes]:
    data = b"".join(_written(frames))
    return [data[: chance.randrange(len(data))]]


def _byte_by_byte(frames: Frames, chance: Random) -> Sequence[bytes]:
    data = b"".join(_written(frames))
    return [data[at : at + 1] for at in range(min(len(data), 1000))]


def _oversized(frames: Frames, chance: Random) -> Sequence[bytes]:
    length = chance.choice((0, 1 << 20, 1 << 23, 1 << 24, 1 << 31, 1 << 62, chance.getrandbits(62)))
    return [*_written(frames), varint(length), b"\x02", chance.randbytes(chance.choice((0, 1 << 10, 1 << 18)))]


def _beyond_credit(frames: Frames, chance: Random) -> Sequence[bytes]:
    described, (kind, payload) = frames[0], frames[1]
    return _written([described, *((kind, varint(number) + payload[1:]) for number in range(2000))])


def _cancelled(frames: Frames, chance: Random) -> Sequence[bytes]:
    numbers = (chance.choice((number, chance.getrandbits(62))) for number in range(8))
    return [*_written(frames), *(framed(Up.CANCEL, varint(number)) for number in numbers)]


def _reports(frames: Frames, chance: Random) -> Sequence[bytes]:
    texts = (b"{}", b"[" * 4000, b'{"tiers": [{"tier": "edge", "index": -1}]}', chance.randbytes(200))
    packed = [_BOMB, chance.randbytes(100), *map(gzip.compress, texts)]
    return [*(framed(Up.TELL, chance.choice(packed)) for _ in range(4)), *_written(frames)]


def _descriptions(frames: Frames, chance: Random) -> Sequence[bytes]:
    text = frames[0][1][1:]
    wrong = (
        framed(Up.DESCRIBE, varint(number % 64) + chance.choice((text, spoiled(text, chance)))) for number in range(99)
    )
    return [*wrong, *_written(frames)]


_BOMB: Final = gzip.compress(bytes(1 << 24))
WAYS: Final[dict[str, Way]] = {
    "right": lambda frames, chance: _written(frames),
    "bytes spoiled": lambda frames, chance: [spoiled(b"".join(_written(frames)), chance)],
    "one frame spoiled": _one_spoiled,
    "frames in another order": lambda frames, chance: chance.choices(_written(frames), k=2 * len(frames)),
    "cut off": _cut,
    "byte by byte": _byte_by_byte,
    "oversized": _oversized,
    "beyond its credit": _beyond_credit,
    "a number twice": lambda frames, chance: _written([*frames[:2], *frames[1:2]]),
    "cancelled": _cancelled,
    "reports": _reports,
    "pings": lambda frames, chance: [framed(Up.PING) * 20_000],
    "descriptions": _descriptions,
    "noise": lambda frames, chance: [chance.randbytes(chance.choice((1, 20, 4000)))],
}


def fuzz_streams(held: Held, tier: str, seconds: float, seed: int) -> Heard:
    """As whoever has the key of a tier below `tier`, and now and then as a stranger."""
    return asyncio.run(_fuzz(held, tier, seconds, seed))


async def _fuzz(held: Held, tier: str, seconds: float, seed: int) -> Heard:
    contexts = {known: held.context(tier, known=known) for known in (True, False)}
    silent: list[asyncio.StreamWriter] = []

    async def one(chance: Random, heard: Heard) -> None:
        known = chance.random() < 0.9
        reader, writer = await held.connect(tier, contexts[known], chance)
        try:
            if chance.random() < 0.3:  # says nothing, with a stream or without one, until others take its place
                heard.did["silent"] += 1
                if chance.random() < 0.5:
                    writer.write(_offer(held, tier))
                silent.append(writer)
                if len(silent) > _SILENT:
                    silent.pop(0).close()
                return
            way = chance.choice([*WAYS])
            heard.did[way if known else f"{way}, by a stranger"] += 1
            writer.write(_offer(held, tier))
            for piece in WAYS[way](right_frames(held, tier, chance), chance):
                writer.write(piece)
            reads = chance.random() < 0.9
            if chance.random() < 0.2 and writer.can_write_eof():
                writer.write_eof()
            if reads:
                await _listen(reader, heard)
        finally:
            if writer not in silent:
                writer.transport.abort()

    try:
        return await keep_on(seconds, _WORKERS, seed, one)
    finally:
        for writer in silent:
            writer.transport.abort()


def _offer(held: Held, tier: str) -> bytes:
    child, index = held.child(tier)
    offer = {"host": "x", "connection": "Upgrade", "upgrade": PROTOCOL, "x-ddnn-tier": f"{child}/{index}"}
    lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in offer.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def right_frames(held: Held, tier: str, chance: Random) -> Frames:
    """A description, then requests that refer to it."""
    writer, frames = AskWriter(), list[tuple[int, bytes]]()
    for number in range(chance.randint(1, 4)):
        inputs, parameters = held.asked(tier, chance)
        written = writer.write(number, inputs, parameters, chance.choice((0, 20, 2000, 600_000)))
        frames += Cut(_MOST).feed(written)
    return frames


async def _listen(reader: asyncio.StreamReader, heard: Heard) -> None:
    """Count what comes within a moment."""
    came = bytearray()
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_LISTEN_S):
            while data := await reader.read(1 << 16):
                came += data
    head, _, rest = bytes(came).partition(b"\r\n\r\n")
    status = head.split(b" ")[1].decode("latin-1") if head.count(b" ") else "nothing"
    if status != "101":
        heard.back[status] += 1
        return
    try:
        for kind, payload in Cut(_MOST).feed(rest):
            if kind & 15 == Down.REFUSAL:
                heard.back[f"refused {read_refusal(payload).status}"] += 1
            elif kind & 15 == Down.ANSWER:
                heard.back["answered"] += 1
    except BadInput:
        heard.back["nonsense"] += 1
