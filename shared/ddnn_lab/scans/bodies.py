"""Requests over HTTP that are wrong in their bodies, or in what their heads say of these."""

import asyncio
import gzip
import zlib
from random import Random
from typing import Final

from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import HEADER_LENGTH, encode_request
from ddnn_lab.load.target import Connections
from ddnn_lab.scans.held import Heard, Held, keep_on
from ddnn_lab.scans.spoil import spoiled

__all__ = ["fuzz_bodies"]

_WORKERS: Final = 8
_ANSWER_S: Final = 1.0
_LENGTHS: Final = ("0", "1", "-1", "4", "99999999999", "0x10", "1e3", "", "７")

Body = tuple[bytes, dict[str, str]]


def fuzz_bodies(held: Held, tier: str, seconds: float, seed: int) -> Heard:
    """As a caller of a device, or as whoever has the key of a tier below `tier`; policies as its admin."""
    return asyncio.run(_fuzz(held, tier, seconds, seed))


async def _fuzz(held: Held, tier: str, seconds: float, seed: int) -> Heard:
    connections = Connections(held.urls[tier], tls=held.context(tier))

    async def one(chance: Random, heard: Heard) -> None:
        kind = chance.choice(("binary", "JSON", "gzip", "deflate", "policy"))
        body, headers = _policy(held) if kind == "policy" else _request(held, tier, kind, chance)
        if wrong := chance.random() < 0.95:
            body, headers = _spoiled(body, headers, chance)
        heard.did[kind if wrong else f"{kind}, right"] += 1
        head = "PUT /v2/policy?dry_run=true HTTP/1.1" if kind == "policy" else f"POST {INFER_PATH} HTTP/1.1"
        lines = [head, "host: x", *(f"{name}: {value}" for name, value in headers.items())]
        try:
            async with asyncio.timeout(_ANSWER_S):
                response = await connections.post("\r\n".join([*lines, "", ""]).encode() + body)
            heard.back[str(response.status)] += 1
        except TimeoutError:
            heard.back["waited for more"] += 1

    try:
        return await keep_on(seconds, _WORKERS, seed, one)
    finally:
        connections.close()


def _request(held: Held, tier: str, kind: str, chance: Random) -> Body:
    inputs, parameters = held.asked(tier, chance)
    body, headers = encode_request(inputs, parameters=parameters, binary=kind == "binary")
    if kind in ("gzip", "deflate"):
        # Spoiled before it is packed, as spoiled packing gets no further than the unpacking.
        body = spoiled(body, chance) if chance.random() < 0.5 else body
        body = gzip.compress(body, 1) if kind == "gzip" else zlib.compress(body, 1)
        headers["content-encoding"] = kind
    own = {"authorization": f"Bearer {held.token}", "x-ddnn-deadline-ms": chance.choice(("1", "300", "2000"))}
    return body, {**headers, **own, "content-length": str(len(body))}


def _policy(held: Held) -> Body:
    body = (held.bundle / "policy.json").read_bytes()
    return body, {"authorization": f"Bearer {held.admin_token}", "content-length": str(len(body))}


def _spoiled(body: bytes, headers: dict[str, str], chance: Random) -> Body:
    """With a body that is wrong, or a header; a body is as long as its head says but now and then."""
    headers = dict(headers)
    if (which := chance.random()) < 0.7:
        body = spoiled(body, chance)
        headers["content-length"] = str(len(body))
    elif which < 0.85 and HEADER_LENGTH in headers:
        headers[HEADER_LENGTH] = chance.choice(_LENGTHS)
    elif which < 0.95:
        name = chance.choice([*headers])
        headers[name] = spoiled(headers[name].encode(), chance).decode("latin-1").translate(_ONE_LINE)
    else:
        headers["content-length"] = chance.choice((*_LENGTHS, str(len(body) + 9)))
    return body, headers


_ONE_LINE: Final = dict.fromkeys(map(ord, "\r\n"), " ")
