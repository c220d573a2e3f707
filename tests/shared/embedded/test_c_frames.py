"""The frames of a device in C are those of a device in Python, byte for byte, and no bytes that come harm it."""

import ctypes
import os
import random
import subprocess
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c_device import NEEDS_GCC, Device, compiled
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.stream.asks import AskWriter
from ddnn.stream.frames import Cut, Refused, bulletin, credit, framed, refusal
from ddnn.stream.rows import WHOLE, answered
from ddnn.types import Answer, Array, Exit

pytestmark = NEEDS_GCC

CLASSES, DEVICES, MOST = 10, 6, 4096
KINDS = ("scores", "features", "waits")


class Frame(ctypes.Structure):
    """`ddnn_frame`."""

    whole: bytes  #: keeps what it points into

    _fields_ = [
        ("kind", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("data", ctypes.POINTER(ctypes.c_uint8)),
        ("size", ctypes.c_size_t),
    ]


class Told(ctypes.Structure):
    """`ddnn_answer`."""

    _fields_ = [
        ("number", ctypes.c_uint32),
        ("exit", ctypes.c_int),
        ("degraded", ctypes.c_int),
        ("need_features", ctypes.c_int),
        ("label", ctypes.c_int),
        ("confidence", ctypes.c_float),
        ("probabilities", ctypes.c_float * CLASSES),
        ("devices", ctypes.c_uint8 * 1),
        ("late", ctypes.c_uint8 * 1),
        ("policy_version", ctypes.c_uint32),
        ("bytes_up", ctypes.c_uint32),
        ("reason", ctypes.c_char * 65),
    ]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    made = Device.of(Bundle.open(shipped_bundle()), 4, tmp_path_factory.mktemp("frames") / "c")
    for name in ("ddnn_offer", "ddnn_ask", "ddnn_cancel", "ddnn_ping"):
        getattr(made.library, name).restype = ctypes.c_size_t
    made.library.ddnn_next.restype = ctypes.c_long
    return made


def tensors(device: Device, kind: str, row: bytes) -> Array:
    """A row of a request, as a device in Python has it."""
    if kind == "waits":
        return np.ones(1, np.bool_)
    return np.frombuffer(row, np.float16 if kind == "scores" else np.uint8)[np.newaxis]


def event(id: bytes) -> Array:
    array = np.empty(1, np.object_)
    array[0] = id
    return array


EVENTS = st.lists(
    st.tuples(st.sampled_from([b"a", b"event-", b"x" * 60]), st.integers(0, 30), st.integers(0, 2)), max_size=9
)
"""Names of ids, their numbers, kinds of requests."""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(EVENTS, st.integers(0, 2**32 - 1), st.integers(0, 700_000))
def test_requests_are_those_of_a_device_in_python(
    device: Device, asked: list[tuple[bytes, int, int]], number: int, left_ms: int
) -> None:
    stream, writer, out = (ctypes.c_uint8 * 256)(), AskWriter(), (ctypes.c_uint8 * MOST)()
    written: dict[str, int] = {}
    for name, n, kind in asked:
        id, row = name + b"%d" % n, os.urandom(30)[: 20 if kind == 0 else 30]
        size = device.library.ddnn_ask(
            stream, out, ctypes.c_size_t(MOST), kind, ctypes.c_uint32(number), ctypes.c_uint32(left_ms), id,
            ctypes.c_size_t(len(id)), row,
        )  # fmt: skip
        inputs = {"event": event(id), KINDS[kind]: tensors(device, KINDS[kind], row)}
        expected = writer.write(number, inputs, {"device": 4, "max_exit": "cloud"}, left_ms)
        described, made = Cut(MOST).feed(expected), Cut(MOST).feed(bytes(out[:size]))
        known = written.setdefault(KINDS[kind], len(written))
        assert len(described) == len(made)
        for (one, payload), (other, wanted) in zip(made, described, strict=True):
            # Descriptions have fixed numbers here, and those of their first use there.
            at = 0 if one == 1 else 1 + (number > 127) + (number >> 14 > 0) + (number >> 21 > 0) + (number >> 28 > 0)
            assert (one, payload[at], wanted[at]) == (other, kind, known)
            assert payload[:at] + payload[at + 1 :] == wanted[:at] + wanted[at + 1 :]


def test_the_offer_is_that_of_the_protocols_page(device: Device) -> None:
    out = ctypes.create_string_buffer(1024)
    size = device.library.ddnn_offer(out, ctypes.c_size_t(1024), b"edge:8001", b"TOKEN")
    assert out.raw[:size].decode().split("\r\n") == [
        "GET /v2/stream HTTP/1.1",
        "host: edge:8001",
        "connection: Upgrade",
        "upgrade: ddnn-stream/1",
        "x-ddnn-tier: device/4",
        f"x-ddnn-bundle: {device.bundle.fingerprint}",
        "authorization: Bearer TOKEN",
        "",
        "",
    ]
    assert b"authorization" not in out.raw[: device.library.ddnn_offer(out, ctypes.c_size_t(1024), b"edge:8001", None)]
    assert device.library.ddnn_offer(out, ctypes.c_size_t(100), b"edge:8001", None) == 0


def heard(device: Device, data: bytes) -> tuple[int, Frame]:
    """What the C finds at the start of `data`, which the frame points into."""
    frame = Frame()
    size = device.library.ddnn_next(data, ctypes.c_size_t(len(data)), ctypes.byref(frame))
    frame.whole = data
    return size, frame


def answer(**given: Any) -> Answer:
    probabilities = np.linspace(0, 1, CLASSES, dtype=np.float32)
    fields = {"confidence": 0.25, "devices": np.arange(DEVICES) % 2 == 0, "policy_version": 300, "bytes_up": 70_000}
    return Answer(7, probabilities, Exit.EDGE, **{**fields, **given})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"degraded": True, "degraded_reason": "no_features", "late": (1, 5)},
        {"need_features": True},
        {"label": -1, "need_features": True},
    ],
)
@pytest.mark.parametrize("worked_s", [None, 0.25])
def test_answers_are_read_as_they_were_meant(device: Device, given: dict[str, Any], worked_s: float | None) -> None:
    meant = answer(**{key: value for key, value in given.items() if key != "label"})
    if "label" in given:
        meant = Answer(-1, meant.probabilities, meant.exit, 0.0, meant.devices, 0, need_features=True)
    sent = answered(77_777, [meant], worked_s)
    for end in range(len(sent)):
        assert heard(device, sent[:end])[0] == 0
    size, frame = heard(device, sent + b"more")
    told = Told()
    assert (size, device.library.ddnn_read_answer(ctypes.byref(frame), ctypes.byref(told))) == (len(sent), 1)
    assert (told.number, told.label, list(Exit)[told.exit]) == (77_777, meant.label, meant.exit)
    assert (bool(told.degraded), bool(told.need_features)) == (meant.degraded, meant.need_features)
    assert (told.reason.decode(), told.policy_version, told.bytes_up) == (
        meant.degraded_reason,
        meant.policy_version,
        meant.bytes_up,
    )
    assert told.late[0] == sum(1 << late for late in meant.late)
    if meant.label >= 0:
        assert np.abs(np.array(told.probabilities) - meant.probabilities).max() <= 0.5001 / WHOLE
        assert told.devices[0] == 0b010101


def test_refusals_and_credit_are_read(device: Device) -> None:
    library = device.library
    _, frame = heard(device, credit(300))
    most = ctypes.c_uint32()
    assert library.ddnn_read_credit(ctypes.byref(frame), ctypes.byref(most)) == 1
    assert most.value == 300
    _, frame = heard(device, refusal(Refused(5, 429, 2, "OVERLOADED", "no room")))
    numbers = (ctypes.c_uint32 * 3)()
    whole = (ctypes.c_uint8 * 64)()
    assert library.ddnn_read_refusal(ctypes.byref(frame), whole) == 1
    ctypes.memmove(numbers, whole, 12)
    assert list(numbers) == [5, 429, 2]
    for makes_no_sense in (b"\x00", b"\xff" * 9, b"\x80\x80\x80\x80\x01"):
        assert heard(device, makes_no_sense)[0] == -1
    accepted, taken = library.ddnn_accepted, ctypes.c_size_t()
    head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n"
    assert [accepted(head, ctypes.c_size_t(n), ctypes.byref(taken)) for n in (0, 5, 30, len(head) - 1)] == [0] * 4
    assert (accepted(head + b"xyz", ctypes.c_size_t(len(head) + 3), ctypes.byref(taken)), taken.value) == (
        101,
        len(head),
    )
    assert accepted(b"SSH-2.0-x", ctypes.c_size_t(9), ctypes.byref(taken)) == -1


FUZZ = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ddnn_stream.h"

int main(void)
{
    unsigned char sizes[2];
    while (fread(sizes, 1, 2, stdin) == 2) {
        size_t size = sizes[0] | sizes[1] << 8, taken;
        unsigned char *data = malloc(size ? size : 1); /* of that size, so that a byte beyond is seen */
        ddnn_frame frame;
        ddnn_answer answer;
        ddnn_refusal refusal;
        uint32_t most;
        if (fread(data, 1, size, stdin) != size)
            return 2;
        ddnn_accepted((const char *)data, size, &taken);
        if (ddnn_next(data, size, &frame) > 0) {
            ddnn_read_answer(&frame, &answer);
            ddnn_read_credit(&frame, &most);
            if (ddnn_read_refusal(&frame, &refusal))
                taken = strnlen(refusal.code, refusal.code_size) + strnlen(refusal.sentence, refusal.sentence_size);
        }
        free(data);
    }
    return 0;
}
"""


def test_no_bytes_that_come_are_read_beyond_their_end(device: Device) -> None:
    chance = random.Random(3)
    good = [answered(3, [answer(late=(2,), degraded=True, degraded_reason="deadline")], 0.1), credit(1 << 19)]
    good += [
        refusal(Refused(1, 503, 1, "UNAVAILABLE", "later")),
        bulletin({"policy": "7"}),
        framed(4),
        b"HTTP/1.1 101 x\r\n\r\n",
    ]
    records = []
    for _ in range(20_000):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) + 1) :]
        records.append(len(data).to_bytes(2, "little") + data)
    (device.folder / "fuzz.c").write_text("#define _POSIX_C_SOURCE 200809L\n" + FUZZ)
    flags = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compiled(device.folder, "fuzz", "fuzz.c", "ddnn_stream.c", flags=flags)
    done = subprocess.run([program], input=b"".join(records), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
