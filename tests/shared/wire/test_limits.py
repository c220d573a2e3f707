"""What a request may cost is known before it is read."""

import json
import tracemalloc

import numpy as np
import orjson
import pytest

from ddnn.errors import TooLarge
from ddnn.wire import Limits, decode_request, encode_request

CAMERA = [("UINT8", (-1, 3, 32, 32)), ("BYTES", (-1,))]
ROWS = 64
LIMITS = Limits.of(CAMERA, rows=ROWS, cap=32 << 20)


def full(view: int) -> dict[str, object]:
    """The longest honest request: every row, nested, indented by nobody but spaced by the standard library."""
    data = np.full((ROWS, 3, 32, 32), view).tolist()
    events = [f"café, {n}".ljust(250) for n in range(ROWS)]
    return {
        "inputs": [
            {"name": "view", "datatype": "UINT8", "shape": [ROWS, 3, 32, 32], "data": data},
            {"name": "event", "datatype": "BYTES", "shape": [ROWS], "data": events},
        ]
    }


def test_all_rows_fit_in_either_form() -> None:
    text = json.dumps(full(255)).encode()
    view = decode_request(text, None, LIMITS).inputs["view"]
    assert view.shape == (ROWS, 3, 32, 32)
    body, headers = encode_request({"view": view, "event": np.full(ROWS, b"x" * 256, np.object_)})
    assert len(body) < LIMITS.body_bytes
    decode_request(body, headers["Inference-Header-Content-Length"], LIMITS)


@pytest.mark.parametrize("filler", [b"[],", b"{},", b'"ab",', b"1e9,", b" "])
def test_json_beyond_them_is_refused_before_it_is_parsed(filler: bytes) -> None:
    # Not JSON at all: had it been parsed, the sentence would say so.
    body = b'{"inputs":[{"data":[' + filler * (LIMITS.json_bytes // len(filler) + 1)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decode_request(body, None, LIMITS)
    with pytest.raises(TooLarge):
        decode_request(body, len(body), LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LIMITS.json_bytes + 100_000


@pytest.mark.parametrize("filler", [b"[],", b"{},", b"[[]],"])
def test_json_within_them_may_not_hold_more_values_than_the_tensors_do(filler: bytes) -> None:
    body = b'{"inputs":[{"data":[' + filler * ((LIMITS.json_bytes - 100) // len(filler)) + b"0]}]}"
    assert len(body) < LIMITS.json_bytes
    orjson.loads(body)
    with pytest.raises(TooLarge, match="values"):
        decode_request(body, None, LIMITS)


def test_they_follow_the_tensors_and_never_leave_the_cap() -> None:
    one, many = (Limits.of(CAMERA, rows=rows, cap=1 << 40) for rows in (1, 100))
    assert one.json_bytes < many.json_bytes < one.body_bytes * 100
    wide = Limits.of([("UINT8", (-1, 3, 224, 224))], rows=4096, cap=32 << 20)
    assert (wide.json_bytes, wide.body_bytes) == (32 << 20, 32 << 20)
    assert wide.json_values < 32 << 17  # as many rows as have room, not as many as there may be
    assert Limits.of(CAMERA, rows=1, cap=1024).json_bytes == 1024
