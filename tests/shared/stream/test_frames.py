"""What is written as frames is read back, byte for byte as on the protocol's page; and no stranger's bytes raise."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddnn.errors import BadInput
from ddnn.stream.asks import Ask, AskReader, AskWriter, Described
from ddnn.stream.frames import Cut, Down, Refused, Up, bulletin, framed, read_bulletin, read_refusal, refusal
from ddnn.stream.rows import WHOLE, answered, read_answered
from ddnn.stream.varints import MOST, Reader, varint
from ddnn.types import Answer, Array, Exit

ROWS = 300


def objects(*items: bytes) -> Array:
    array = np.empty(len(items), np.object_)
    array[:] = items
    return array


def read(written: bytes) -> list[Ask]:
    """The requests in what a writer wrote."""
    reader, asks = AskReader(ROWS), []
    for kind, payload in Cut(1 << 20).feed(written):
        if kind == Up.DESCRIBE:
            reader.describe(payload)
        else:
            asks.append(reader.read(kind, payload))
    return asks


@given(st.integers(0, MOST))
def test_numbers_come_back(value: int) -> None:
    reader = Reader(varint(value))
    assert reader.number() == value
    reader.end()


@pytest.mark.parametrize("bad", [b"", b"\x80", b"\xff" * 9, b"\xff" * 12])
def test_what_is_no_number_is_a_sentence(bad: bytes) -> None:
    with pytest.raises(BadInput, match="the frame"):
        Reader(bad).number()


def test_the_bytes_of_a_first_and_a_second_request() -> None:
    writer = AskWriter()
    scores = np.array([[1.0, -2.0, 0.5]], np.float16)
    first = writer.write(0, {"event": objects(b"ev-41"), "scores": scores}, {"device": 2}, 1950)
    described, asked = Cut(1000).feed(first)
    assert orjson.loads(described[1][1:]) == {
        "inputs": [
            {"name": "event", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP16", "shape": [-1, 3]},
        ],
        "parameters": {"device": 2},
    }
    assert asked == (2, bytes.fromhex("00 00 9e0f 0b 65762d3431 003c 00c0 0038"))
    second = writer.write(1, {"event": objects(b"ev-42"), "scores": scores}, {"device": 2}, 1950)
    assert second == bytes.fromhex("0d 02 01 00 9e0f 02 32 003c 00c0 0038")
    page = (Path(__file__).parents[3] / "shared" / "docs" / "protocol.md").read_text()
    shown = bytes.fromhex("".join(line[:42].partition("…")[0] for line in page.split("```")[-2].splitlines()[1:]))
    assert shown == first[:7] + first[-18:] + second


TENSORS = st.sampled_from(
    [
        {"scores": np.arange(12, dtype=np.float32).reshape(2, 6)},
        {"features": np.arange(10, dtype=np.uint8).reshape(2, 5), "present": np.eye(2, 9, dtype=np.bool_)},
        {"view": objects(b"", b"\xff\xd8 a picture"), "present": np.ones((2, 3), np.bool_)},
        {"waits": np.ones(2, np.bool_)},
        {"view": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)},
    ]
)
IDS = st.lists(st.binary(min_size=1, max_size=20), min_size=2, max_size=2)
ASKED = st.lists(st.tuples(TENSORS, st.none() | IDS, st.integers(0, 600_000)), min_size=1, max_size=12)


@given(ASKED)
def test_requests_come_back_in_their_order(asked: list[tuple[dict[str, Array], list[bytes] | None, int]]) -> None:
    writer, written, expected = AskWriter(), b"", []
    for number, (tensors, ids, deadline_ms) in enumerate(asked):
        inputs = dict(tensors) if ids is None else {"event": objects(*ids), **tensors}
        expected.append(inputs)
        flags = b"03" if number % 2 else b"02"  # recorded, and not; the second bit says that the id is random
        trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags
        parameters: Any = {"device": number % 3, "max_exit": "cloud"}
        written += writer.write(number, inputs, parameters, deadline_ms, traceparent=trace, request_id=b"r" * number)
    found = read(written)
    assert [ask.number for ask in found] == list(range(len(asked)))
    for ask, inputs, (_, _, deadline_ms) in zip(found, expected, asked, strict=True):
        assert (ask.deadline_ms, ask.request_id) == (deadline_ms, b"r" * ask.number)
        assert ask.traceparent.endswith(b"203331-03") == bool(ask.number % 2)
        assert ask.request.parameters == {"device": ask.number % 3, "max_exit": "cloud"}
        assert [*ask.request.inputs] == [*inputs]
        for name, array in inputs.items():
            assert ask.request.inputs[name].dtype == array.dtype
            assert np.array_equal(ask.request.inputs[name], array)


def test_descriptions_make_room_for_others() -> None:
    writer = AskWriter()
    waits = {"waits": np.ones(1, np.bool_)}
    written = b"".join(writer.write(n, waits, {"threshold": n / 200}, 10) for n in [*range(150), 0, 149])
    assert [ask.request.parameters["threshold"] for ask in read(written)] == [n / 200 for n in [*range(150), 0, 149]]


def answer(**changes: Any) -> Answer:
    probabilities = np.array([0.9, 0.06, 0.04], np.float32)
    given: dict[str, Any] = {"label": 0, "exit": Exit.LOCAL, "confidence": 0.8, "policy_version": 3, "bytes_up": 141}
    return Answer(**{"probabilities": probabilities, "devices": np.eye(6, dtype=np.bool_)[2], **given, **changes})


def test_answers_come_back_to_a_sixteen_thousandth() -> None:
    rows = [
        answer(),
        answer(exit=Exit.CLOUD, degraded=True, degraded_reason="timeout", late=(0, 5)),
        answer(label=-1, need_features=True),
        answer(label=-1, degraded_reason="not_asked"),
        answer(need_features=True, policy_version=2**53 - 1),
    ]
    ((kind, payload),) = Cut(1 << 20).feed(answered(7, rows, 0.0123))
    found = read_answered(kind, payload, len(rows), 3, 6)
    assert (found.number, found.worked_s) == (7, 0.0123)
    for back, row in zip(found.answers, rows, strict=True):
        for name in ("label", "exit", "degraded", "degraded_reason", "need_features", "late"):
            assert getattr(back, name) == getattr(row, name)
        if row.label >= 0:
            assert (back.policy_version, back.bytes_up) == (row.policy_version, row.bytes_up)
            assert np.array_equal(back.devices, row.devices)
            assert np.abs(back.probabilities - row.probabilities).max() <= 0.5 / WHOLE + 1e-7
            assert abs(back.confidence - row.confidence) <= 0.5 / WHOLE


def test_a_usual_answer_of_ten_classes_is_twenty_odd_bytes() -> None:
    sure = np.full(10, 0.0005, np.float32)
    sure[4] = 0.9955
    assert len(answered(1, [answer(probabilities=sure, label=4, bytes_up=24)])) == 21


def test_refusals_and_bulletins_come_back() -> None:
    refused = Refused(9, 429, 2, "OVERLOADED", "300 requests are being worked on already")
    ((kind, payload),) = Cut(1000).feed(refusal(refused))
    assert (kind, read_refusal(payload)) == (Down.REFUSAL, refused)
    ((_, payload),) = Cut(1000).feed(bulletin({"policy": '"3-55"', "watch": ""}))
    assert read_bulletin(payload) == {"policy": '"3-55"'}


@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(1, 50))
def test_frames_are_the_same_however_the_bytes_come(payloads: list[bytes], step: int) -> None:
    whole = b"".join(framed(3, payload) for payload in payloads)
    cut, found = Cut(1000), []
    for at in range(0, len(whole), step):
        found += cut.feed(whole[at : at + step])
    assert found == [(3, payload) for payload in payloads]
    assert cut.waiting == 0


def test_a_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    with pytest.raises(BadInput, match="a frame has 2000 bytes; expected 1 to 1000"):
        Cut(1000).feed(varint(2000))
    with pytest.raises(BadInput, match="a frame has 0 bytes"):
        Cut(1000).feed(b"\0")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "no JSON object"),
        (b'{"inputs": []}', "no JSON object with 1 to 16 `inputs`"),
        (b'{"inputs": [3]}', "the tensor None"),
        (b'{"inputs": [{"name": "x", "datatype": "INT9", "shape": [-1]}]}', "datatype 'INT9'"),
        (b'{"inputs": [{"name": "x", "datatype": "INT8", "shape": [2]}]}', "expected -1, then sizes"),
        (b'{"inputs": [{"name": "x", "datatype": "INT8", "shape": [-1, 1073741824, 2]}]}', "expected -1, then sizes"),
        (b'{"inputs": [{"name": "event", "datatype": "INT8", "shape": [-1]}]}', "expected BYTES [-1]"),
        (b'{"inputs": [{"name": "x", "datatype": "INT8", "shape": [-1]}], "parameters": {"a": []}}', "parameter 'a'"),
        (b" " * 9000, "expected at most 8192"),
    ],
)
def test_a_bad_description_gets_a_sentence(entry: bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        Described.read(entry)
    assert says in str(caught.value)


FIRST = AskWriter().write(0, {"event": objects(b"ev"), "scores": np.ones((1, 3), np.float32)}, {"device": 1}, 100)


@given(st.binary(max_size=300), st.integers(0, len(FIRST) - 1), st.integers(0, 255), st.booleans())
def test_no_bytes_raise_anything_but_bad_input(noise: bytes, place: int, value: int, changed: bool) -> None:
    """Noise, and a good request in which a byte is another."""
    data = FIRST[:place] + bytes([value]) + FIRST[place + 1 :] if changed else FIRST + noise
    reader = AskReader(ROWS)
    with contextlib.suppress(BadInput):
        for kind, payload in Cut(1 << 16).feed(data):
            with contextlib.suppress(BadInput):
                reader.describe(payload) if kind & 15 == Up.DESCRIBE else reader.read(kind, payload)
    for each in (
        lambda: read_answered(0x11, noise, 2, 10, 6),
        lambda: read_refusal(noise),
        lambda: read_bulletin(noise),
    ):
        with contextlib.suppress(BadInput):
            each()
