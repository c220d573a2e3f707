"""What stock clients of HTTP and of the protocol send, alike on every tier, over real ports."""

import asyncio
import gzip
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

from ddnn_lab.in_process import INFER, Fleet
from real_port import ask, post, reply, serving

DEVICES = [0]
Document = dict[str, Any]


class Served(NamedTuple):
    """One tier of a fleet behind a real port."""

    fleet: Fleet
    name: str
    port: int

    @property
    def example(self) -> Document:
        """A request that it answers, to be changed."""
        service = self.fleet.switch.apps[self.name].state.service
        document: Document = orjson.loads(orjson.dumps(service.request_example))
        return document

    async def answered(self, document: Document) -> None:
        """Fail unless the tier answers the request."""
        given = await post(self.port, orjson.dumps(document))
        assert given.status == 200, given.body

    async def refused(self, document: Document, *words: str) -> None:
        """Fail unless the tier refuses the request with a sentence that holds `words`."""
        given = await post(self.port, orjson.dumps(document))
        assert given.status == 400, given.body
        assert all(word in given.error for word in words), given.error


@pytest.fixture(params=["device-0", "edge", "cloud"])
async def served(fleet: Fleet, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    fleet.use(wait_ms=0)
    async with serving(fleet.switch.apps[request.param]) as port:
        yield Served(fleet, request.param, port)


def head(*lines: str, length: int | None = None) -> bytes:
    """The head of an inference request, of HTTP/1.1."""
    given = () if length is None else (f"content-length: {length}",)
    return "\r\n".join([f"POST {INFER} HTTP/1.1", "host: x", *lines, *given, "", ""]).encode()


async def test_every_get_has_its_head_without_a_body_and_the_connection_stays_in_step(served: Served) -> None:
    page = served.fleet.switch.apps[served.name].openapi()["paths"]
    paths = {path.replace("{model}", "ddnn") for path, methods in page.items() if "get" in methods}
    assert paths >= {"/v2", "/livez", "/readyz", "/v2/models/ddnn", "/v2/policy", "/metrics"}
    versioned = {path.replace("ddnn", "ddnn/versions/1") for path in paths if "ddnn" in path}
    for path in sorted({*paths, *versioned, "/docs", "/openapi.json"}):
        got, headed, after = await ask(served.port, ("GET", path), ("HEAD", path), ("GET", "/v2"))
        closed = path.startswith("/v2/doubts")  # an admin's, of whom this tier has none
        assert got.status == (403 if closed else 200), path
        assert (headed.status, headed.body) == (got.status, b""), path
        assert headed.headers["content-type"] == got.headers["content-type"]
        assert int(headed.headers["content-length"]) > 0
        assert orjson.loads(after.body)["name"].startswith("ddnn-")


async def test_a_head_of_what_is_not_there_leaves_the_connection_in_step(served: Served) -> None:
    missing, wrong, after = await ask(served.port, ("HEAD", "/v3"), ("HEAD", INFER), ("GET", "/livez"))
    assert [(given.status, given.body) for given in (missing, wrong)] == [(404, b""), (405, b"")]
    assert orjson.loads(after.body) == {"live": True}


async def test_numbers_may_be_written_as_floats_where_they_are_whole(served: Served) -> None:
    def floats(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: floats(each) for key, each in value.items()}
        if isinstance(value, list):
            return [floats(each) for each in value]
        return float(value) if type(value) is int else value

    document = floats(served.example)
    assert b"1.0" in orjson.dumps(document)
    await served.answered(document)
    document["inputs"][0]["shape"][0] = 1.5
    await served.refused(document, "1.5", "shape")


async def test_whole_floats_may_stand_for_bytes_and_others_may_not(served: Served) -> None:
    tensor = next(entry for entry in served.example["inputs"] if entry["datatype"] in ("UINT8", "BOOL"))
    for value, says in ((0.5, "0.5"), (256.0, ""), (-1.0, "")):
        document = served.example
        changed = next(entry for entry in document["inputs"] if entry["name"] == tensor["name"])
        changed["data"] = [value, *np.ravel(tensor["data"]).tolist()[1:]]
        await served.refused(document, tensor["name"], says)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),  # without its envelope, as some clients write it
        ("identity", bytes),
    ],
)
async def test_bodies_may_be_packed(served: Served, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    given = await post(served.port, pack(orjson.dumps(served.example)), content_encoding=encoding)
    assert given.status == 200, given.body


@pytest.mark.parametrize("encoding", ["gzip", pytest.param("deflate", marks=pytest.mark.long)])
async def test_a_packed_body_takes_no_more_memory_than_a_plain_one_may(served: Served, encoding: str) -> None:
    bomb = (gzip if encoding == "gzip" else zlib).compress(bytes(512 << 20), 9)
    assert len(bomb) < 1 << 20
    given = await post(served.port, bomb, content_encoding=encoding)
    assert (given.status, "bytes" in given.error) == (413, True)
    for broken in (b"no archive", b"", zlib.compress(b"{}")[:-2]):
        given = await post(served.port, broken, content_encoding=encoding)
        assert (given.status, encoding in given.error) == (400, True)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate"])
async def test_another_encoding_is_415_and_the_answer_names_those_that_are_taken(served: Served, encoding: str) -> None:
    given = await post(served.port, b"{}", content_encoding=encoding)
    assert (given.status, given.headers["accept-encoding"]) == (415, "gzip, deflate, identity")
    assert encoding in given.error


def with_event(document: Document, event: Any, shape: list[int]) -> Document:
    tensor = {"name": "event", "datatype": "BYTES", "shape": shape, "data": [event]}
    return {**document, "inputs": [entry for entry in document["inputs"] if entry["name"] != "event"] + [tensor]}


async def test_one_value_a_row_may_come_as_a_column(served: Served) -> None:
    document = with_event(served.example, "column", [1, 1])
    await served.answered(document)
    document["inputs"][-1]["data"] = [["nested"]]
    await served.answered(document)
    await served.refused(with_event(served.example, "deep", [1, 1, 1]), "event", "[1, 1, 1]")


async def test_an_event_id_is_one_to_256_bytes(served: Served) -> None:
    for event, says in (("", "0 bytes"), ("x" * 257, "257 bytes")):
        await served.refused(with_event(served.example, event, [1]), "event", says, "expected 1 to 256")
    example, body = served.example, struct.pack("<I", 0)
    tensor = {"name": "event", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(body)}}
    text = orjson.dumps({**example, "inputs": [*example["inputs"], tensor]})
    given = await post(served.port, text + body, inference_header_content_length=str(len(text)))
    assert (given.status, "0 bytes" in given.error) == (400, True)


async def test_truth_may_be_written_as_0_and_1(fleet: Fleet) -> None:
    async with serving(fleet.switch.apps["cloud"]) as port:
        served = Served(fleet, "cloud", port)
        for one in (1, 1.0, True):
            document = served.example
            present = next(entry for entry in document["inputs"] if entry["name"] == "present")
            present["data"] = [one, *[0] * 5]
            await served.answered(document)
        for other in (2, 0.5, "true", None):
            present["data"] = [other, *[0] * 5]
            await served.refused(document, "present", "true or false")
    async with serving(fleet.switch.apps["edge"]) as port:
        served = Served(fleet, "edge", port)
        document = with_event(served.example, "sure", [1])
        document["inputs"] = [entry for entry in document["inputs"] if entry["name"] != "features"]
        document["inputs"].append({"name": "answered", "datatype": "BOOL", "shape": [1], "data": [1]})
        await served.answered(document)


async def test_what_is_absent_may_be_null(served: Served) -> None:
    document = served.example
    for tensor in document["inputs"]:
        tensor["parameters"] = None
    parameters = {**document.get("parameters", {}), "max_exit": None, "wait_ms": None, "binary_data_output": None}
    outputs = [{"name": "label", "parameters": None}]
    await served.answered({**document, "id": None, "parameters": parameters, "outputs": outputs})
    if served.name != "edge":
        await served.answered({**document, "id": None, "parameters": None, "outputs": None})
    text = orjson.dumps(document)
    binary = np.array(document["inputs"][-1]["data"])
    raw = binary.astype(np.float32 if document["inputs"][-1]["datatype"] == "FP32" else np.uint8).tobytes()
    document["inputs"][-1] |= {"data": None, "parameters": {"binary_data_size": len(raw), "other": None}}
    text = orjson.dumps(document)
    given = await post(served.port, text + raw, inference_header_content_length=str(len(text)))
    assert given.status == 200, given.body


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0, h2c"])
async def test_an_offer_to_upgrade_is_declined_by_an_answer_of_http_1_1(served: Served, upgrade: str) -> None:
    body = orjson.dumps(served.example)
    offer = (f"upgrade: {upgrade}", "connection: Upgrade, HTTP2-Settings", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA")
    whole = head(*offer, length=len(body)) + body
    last = head("connection: close", length=len(body)) + body
    for parts in ((whole, last), (whole + last,), [bytes([byte]) for byte in whole[:900]] + [whole[900:], last]):
        given = await reply(served.port, *parts)
        assert given.count(b"HTTP/1.1 200") == 2, given
        assert b"101" not in given.split(b"\r\n", 1)[0]
    chunked = head(*offer, "transfer-encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert (await reply(served.port, chunked, last)).count(b"HTTP/1.1 200") == 2
    probe = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert (await reply(served.port, probe, last)).count(b"HTTP/1.1 200") == 2
    ended = head(f"upgrade: {upgrade}", "connection: upgrade, close", length=len(body)) + body
    assert (await reply(served.port, ended)).count(b"HTTP/1.1 200") == 1


async def test_a_tunnel_is_refused(served: Served) -> None:
    given = await reply(served.port, b"CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n")
    assert given.startswith(b"HTTP/1.1 400")


async def test_a_caller_that_closes_its_sending_half_is_answered(served: Served) -> None:
    body = orjson.dumps(served.example)
    given = [
        await reply(served.port, head(length=len(body)), body, half_closed=True),
        await reply(served.port, (head(length=len(body)) + body) * 3, half_closed=True),
        await reply(served.port, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", half_closed=True),
        await reply(served.port, b"HEAD /livez HTTP/1.1\r\nhost: x\r\n\r\n", half_closed=True),
    ]
    assert [each.count(b"HTTP/1.1 200 OK\r\n") for each in given] == [1, 3, 1, 1], given
    metrics = served.fleet.switch.apps[served.name].state.service.metrics.registry
    assert not metrics.get_sample_value("ddnn_requests_total", {"code": "499"})


async def test_a_body_that_a_closed_half_cuts_short_is_refused_with_a_sentence(served: Served) -> None:
    given = await reply(served.port, head(length=100), b"{", half_closed=True)
    assert given.startswith(b"HTTP/1.1 400")
    assert b"99 bytes" not in given
    assert b"before its body was whole" in given
    assert await reply(served.port, b"GET /livez HT", half_closed=True) == b""


async def test_a_closed_half_waits_for_an_answer_that_takes_long(fleet: Fleet) -> None:
    fleet.use(wait_ms=900)
    async with serving(fleet.switch.apps["edge"]) as port:
        document = with_event(Served(fleet, "edge", port).example, "slow", [1])
        document["parameters"] = {"device": 0, "wait_ms": 900}
        body = orjson.dumps(document)
        given = await reply(port, head(length=len(body)) + body, half_closed=True)
    assert given.startswith(b"HTTP/1.1 200 OK\r\n")
    assert given.count(b"HTTP/1.1") == 1


async def test_requests_in_flight_of_many_half_closed_callers_are_all_answered(served: Served) -> None:
    body = orjson.dumps(served.example)
    asked = [reply(served.port, head(length=len(body)) + body, half_closed=True) for _ in range(20)]
    given = await asyncio.gather(*asked)
    assert all(each.startswith(b"HTTP/1.1 200 OK\r\n") for each in given)
