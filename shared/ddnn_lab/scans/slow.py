"""Connections that take their time: handshakes, heads and bodies that never end, and connections that say nothing."""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.scans.held import Attack, Heard, Held, keep_on

__all__ = ["SLOW"]

_COUNT: Final = 2000
_OPENING: Final = 8  #: at a time
_HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  #: how the first message of TLS begins
_EVERY_S: Final = 5.0

Begin = Callable[[Held], bytes]


def _body(held: Held) -> bytes:
    head = f"POST {INFER_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\nx-ddnn-deadline-ms: 600000"
    return f"{head}\r\nauthorization: Bearer {held.token}\r\n\r\n{{".encode()


_BEGINS: Final[dict[str, tuple[bool, Begin, bytes]]] = {
    "slow handshakes": (False, lambda held: _HELLO, b"\x00"),
    "slow heads": (True, lambda held: b"GET /v2 HTTP/1.1\r\nhost: x\r\n", b"x: y\r\n"),
    "slow bodies": (True, _body, b" "),
    "silent connections": (True, lambda held: b"", b""),
}
"""By name: whether over TLS, how each begins, and what it says every five seconds."""


def _attack(name: str, held: Held, tier: str, seconds: float, seed: int) -> Heard:
    return asyncio.run(_hold(name, held, tier, seconds, seed))


async def _hold(name: str, held: Held, tier: str, seconds: float, seed: int) -> Heard:
    """As many connections as `_COUNT` that stay open, each anew when it is closed."""
    secure, begin, more = _BEGINS[name]
    context = held.context(tier) if secure else None
    opened: dict[asyncio.StreamWriter, None] = {}
    closed = 0

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        try:
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        if opened.pop(writer, 0) is None:
            closed += 1
        writer.transport.abort()

    async def one(chance: Random, heard: Heard) -> None:
        if len(opened) >= _COUNT:
            await asyncio.sleep(0.1)
            return
        reader, writer = await held.connect(tier, context, chance)
        writer.write(begin(held))
        opened[writer] = None
        heard.did["connections"] += 1
        tasks.add(task := asyncio.create_task(watch(reader, writer)))
        task.add_done_callback(tasks.discard)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            for writer in list(opened):
                writer.write(more)

    tasks = {asyncio.create_task(go_on())}
    heard = await keep_on(seconds, _OPENING, seed, one)
    heard.back["open at the end"] = len(opened)
    heard.back["closed by the tier"] = closed
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in opened:
        writer.transport.abort()
    return heard


SLOW: Final[dict[str, Attack]] = {name: partial(_attack, name) for name in _BEGINS}
