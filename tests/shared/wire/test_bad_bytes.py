"""Whatever a stranger sends is either understood or a `BadInput` with a sentence."""

import contextlib
import gc
import json
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddnn.errors import BadInput
from ddnn.wire import InferRequest, decode_request, decode_response, encode_request, encode_response

Json = dict[str, Any]


def tensor(**changes: Any) -> Json:
    entry = {"name": "x", "datatype": "INT8", "shape": [2], "data": [1, 2]}
    return {key: value for key, value in {**entry, **changes}.items() if value is not ...}


def binary(size: object, **changes: Any) -> Json:
    return tensor(data=..., parameters={"binary_data_size": size}, **changes)


@pytest.mark.parametrize(
    ("entry", "raw", "says"),
    [
        (tensor(name=3), b"", "entry 0 has the name 3"),
        (tensor(name=""), b"", "entry 0 has the name ''"),
        (tensor(datatype="int8"), b"", "'x' has the datatype 'int8'; expected one of BOOL"),
        (tensor(datatype=["INT8"]), b"", "datatype a list of 1"),
        (tensor(shape=2), b"", "has the shape 2"),
        (tensor(shape=[-1]), b"", "has -1 in its shape"),
        (tensor(shape=[True]), b"", "has True in its shape"),
        (tensor(shape=[2.5]), b"", "has 2.5 in its shape"),
        (tensor(shape=[1] * 33), b"", "shape a list of 33"),
        (tensor(shape=[2**62, 2**62]), b"", "more than 2147483648 elements"),
        (tensor(shape=[0, 2**62, 2**62], data=[]), b"", "more than 2147483648 elements"),
        (tensor(shape=[3]), b"", "2 elements of data; its shape [3] has 3"),
        (tensor(data=...), b"", "neither `data` nor"),
        (tensor(data=1), b"", "has the data 1; expected a list"),
        (tensor(data=[1, 128]), b"", "leaves the range -128 to 127"),
        (tensor(data=[1, 10**30]), b"", "leaves the range -128 to 127"),
        (tensor(data=[1, 2.5]), b"", "holds 2.5; expected integers"),
        (tensor(data=[1, True]), b"", "holds True; expected integers"),
        (tensor(data=[1, None]), b"", "holds None; expected integers"),
        (tensor(data=[1, [2]]), b"", "holds a list of 1; expected integers"),
        (tensor(shape=[2, 2], data=[[1, 2], [3]]), b"", "nested data that is not [2, 2] at depth 1"),
        (tensor(shape=[2, 2], data=[[1, 2], 3]), b"", "at depth 1"),
        (tensor(shape=[1, 2], data=[[[1, 2]]]), b"", "at depth 1"),
        (tensor(shape=[], data=[[1]]), b"", "holds a list of 1"),
        (tensor(datatype="FP32", data=[1, 1e39]), b"", "leaves the range of that type"),
        (tensor(datatype="FP16", data=[1, 1e5]), b"", "leaves the range of that type"),
        (tensor(datatype="BOOL", data=[0, 2]), b"", "holds 2; expected true or false, or 1 and 0"),
        (tensor(datatype="BYTES", data=[1, 2]), b"", "holds 1; expected strings"),
        (tensor(parameters=[]), b"", "has the parameters a list of 0"),
        (tensor(parameters={"binary_data_size": 2}), b"ab", "both `data` and"),
        (binary(2**30), b"ab", "says 1073741824 bytes of binary data; 2 are left"),
        (binary(-1), b"ab", "binary_data_size -1"),
        (binary(True), b"a", "binary_data_size True"),
        (binary("2"), b"ab", "binary_data_size '2'"),
        (binary(1), b"ab", "INT8 [2], 2 bytes; its binary_data_size is 1"),
        (binary(2), b"abc", "1 bytes after its last tensor"),
        (binary(2, datatype="BOOL"), b"\x00\x02", "a byte other than 0 and 1"),
        (binary(7, datatype="BYTES"), b"1234567", "2 elements, each with a length of 4 bytes"),
        (binary(8, datatype="BYTES"), b"\xff\xff\xff\xff1234", "says 4294967295 bytes; 4 are left"),
        (binary(8, datatype="BYTES"), b"\x02\x00\x00\x001234", "ends within the length of element 1"),
        (binary(9, datatype="BYTES"), b"\x00\x00\x00\x00\x00\x00\x00\x001", "1 bytes after its 2 elements"),
        ("x", b"", "entry 0 is 'x'"),
    ],
)
def test_a_bad_tensor_gets_a_sentence(entry: Json, raw: bytes, says: str) -> None:
    header = json.dumps({"inputs": [entry]}).encode()  # orjson cannot write integers of more than 64 bits
    with pytest.raises(BadInput) as caught:
        decode_request(header + raw, len(header))
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("body", "length", "says"),
    [
        (b"{}", -1, "Inference-Header-Content-Length is -1; expected 0 to 2"),
        (b"{}", 3, "Inference-Header-Content-Length is 3; expected 0 to 2"),
        (b"{}", "two", "is 'two'; expected a whole number"),
        (b"{}", "-1", "is '-1'; expected a whole number"),
        (b"{}", " 2", "is ' 2'; expected a whole number"),
        (b"{}", "9" * 5000, "expected a whole number"),
        (b"{}", "²", "expected a whole number"),
        (b"", None, "the body is empty; expected JSON"),
        (b"[1]", None, "the body is a list of 1; expected a JSON object"),
        (b'"x"', None, "the body is 'x'"),
        (b"{", None, "cannot be read"),
        (b"\xff\xfe{}", None, "cannot be read"),
        (b'{"id":"\xff"}', None, "cannot be read"),
        (b'{"id":"\\ud800"}', None, "cannot be read"),
        (b'{"inputs":[NaN]}', None, "cannot be read"),
        (b"[" * 100_000, None, "cannot be read"),
        (b'{"inputs":' + b"[" * 100_000, None, "cannot be read"),
        (b'{"a":' * 100_000, None, "cannot be read"),
        (b"{}", None, "`inputs` is None; expected a list"),
        (b'{"inputs":{}}', None, "`inputs` is an object of 0 keys"),
        (b'{"inputs":[],"id":7}', None, "`id` is 7; expected a string"),
        (b'{"inputs":[],"id":"%s"}' % (b"x" * 257), None, "`id` has 257 bytes; expected at most 256"),
        (b'{"inputs":[],"parameters":{"a":"%s"}}' % (b"x" * 1024), None, "parameter 'a' has 1025 characters"),
        (orjson.dumps({"parameters": {str(n): n for n in range(65)}}), None, "`parameters` has 65 entries"),
        (orjson.dumps({"inputs": [{}] * 65}), None, "`inputs` has 65 entries; expected at most 64"),
        (orjson.dumps({"inputs": [], "outputs": [{}] * 65}), None, "`outputs` has 65 entries; expected at most 64"),
        (b'{"inputs":[],"parameters":[]}', None, "`parameters` is a list of 0"),
        (b'{"inputs":[],"parameters":{"a":{}}}', None, "parameter 'a' is an object of 0 keys"),
        (b'{"inputs":[],"parameters":{"binary_data_output":1}}', None, "binary_data_output 1; expected true or false"),
        (b'{"inputs":[],"outputs":{}}', None, "`outputs` is an object of 0 keys"),
        (b'{"inputs":[],"outputs":["label"]}', None, "`outputs` entry 0 is 'label'"),
        (b'{"inputs":[],"outputs":[{}]}', None, "`outputs` entry 0 is an object of 0 keys"),
        (b'{"inputs":[],"outputs":[{"name":"a"},{"name":"a"}]}', None, "output 'a' is asked for twice"),
        (
            b'{"inputs":[],"outputs":[{"name":"a","parameters":{"binary_data":"no"}}]}',
            None,
            "output 'a' has binary_data 'no'",
        ),
    ],
)
def test_a_bad_request_gets_a_sentence(body: bytes, length: int | str | None, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode_request(body, length)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_same_tensor_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="input tensor 'x' is there twice"):
        decode_request(orjson.dumps({"inputs": [tensor(), tensor()]}))


def test_an_output_nobody_has_is_refused() -> None:
    request = InferRequest("", {}, {}, {"labels": False}, False)
    with pytest.raises(BadInput, match="output 'labels' is unknown here; expected some of label"):
        encode_response({"label": np.zeros(1, np.int64)}, request)


def test_bytes_that_are_no_text_need_binary() -> None:
    with pytest.raises(BadInput, match="JSON cannot carry them"):
        encode_request({"event": np.array([b"\xff"], np.object_)}, binary=False)


def test_take_names_what_it_found_and_what_it_expected() -> None:
    request = InferRequest(
        "", {}, {"view": np.zeros((2, 3), np.float32), "none": np.zeros((0, 3), np.float32)}, None, False
    )
    assert request.take("view", "FP32", (None, 3)).shape == (2, 3)
    with pytest.raises(BadInput, match=r"input tensor 'view' is FP32 \[2, 3\]; expected UINT8 \[at least 1, 3\]"):
        request.take("view", "UINT8", (None, 3))
    with pytest.raises(BadInput, match=r"is FP32 \[2, 3\]; expected FP32 \[events\]"):
        request.take("view", "FP32", (2,))
    with pytest.raises(BadInput, match=r"is FP32 \[0, 3\]; expected FP32 \[at least 1, 3\]"):
        request.take("none", "FP32", (None, 3))
    with pytest.raises(BadInput, match="input tensor 'scores' is missing; found 'view', 'none'"):
        request.take("scores", "FP32", (None, 3))
    with pytest.raises(BadInput, match="input tensor 'none' is unknown here; expected 'view'"):
        request.refuse_unknown({"view"})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_take_refuses_what_is_not_finite(value: float, datatype: str) -> None:
    array = np.array([0, value], {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}[datatype])
    request = decode_request(*_split(encode_request({"x": array})))
    with pytest.raises(BadInput, match=f"input tensor 'x' holds {value} at element 1; expected finite numbers"):
        request.take("x", datatype, (2,))


def _split(encoded: tuple[bytes, dict[str, str]]) -> tuple[bytes, str | None]:
    body, headers = encoded
    return body, headers.get("Inference-Header-Content-Length")


def test_parameters_are_read_by_kind() -> None:
    request = InferRequest("", {"n": 3, "f": 0.5, "s": "edge", "b": True}, {}, None, False)
    assert (request.number("n"), request.number("f", 0, 1), request.number("none")) == (3.0, 0.5, None)
    assert (request.integer("n", 0, 3), request.integer("none", 0, 3)) == (3, None)
    assert (request.text("s"), request.text("none")) == ("edge", None)
    with pytest.raises(BadInput, match="parameter 'n' is 3; expected a number from 0 to 1"):
        request.number("n", 0, 1)
    with pytest.raises(BadInput, match="parameter 'b' is True; expected a whole number from 0 to 3"):
        request.integer("b", 0, 3)
    with pytest.raises(BadInput, match="parameter 's' is 'edge'; expected a number"):
        request.number("s")
    with pytest.raises(BadInput, match="parameter 'n' is 3; expected a string"):
        request.text("n")


def _good() -> tuple[bytes, int]:
    body, headers = encode_request(
        {
            "event": np.array([b"a", b"bc"], np.object_),
            "view": np.arange(6, dtype=np.float32).reshape(2, 3),
            "answered": np.array([True, False]),
        },
        id="1",
        parameters={"device": 1},
    )
    return body, int(headers["Inference-Header-Content-Length"])


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, int | None]:
    body, length = _good()
    changed = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed) - 1))
        changed[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3) | st.sampled_from([b"9", b"-", b"[", b"0"])
        )
        changed = changed or bytearray(b"{")
    return bytes(changed), draw(st.sampled_from([length, None]) | st.integers(-2, len(body) + 2))


def survives(body: bytes, length: int | None) -> None:
    for decode in (decode_request, decode_response):
        with contextlib.suppress(BadInput):
            decode(body, length)


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_damaged_bytes_are_read_or_refused(case: tuple[bytes, int | None]) -> None:
    survives(*case)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(-5, 205))
def test_random_bytes_are_read_or_refused(body: bytes, length: int | None) -> None:
    survives(body, length)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["x", "y"]) | ANY_JSON,
            "datatype": st.sampled_from(["BOOL", "INT8", "UINT64", "FP16", "FP32", "BYTES"]) | ANY_JSON,
            "shape": st.lists(st.integers(-1, 3), max_size=3) | ANY_JSON,
            "data": st.lists(st.integers(0, 1) | st.booleans() | st.text(max_size=2), max_size=4) | ANY_JSON,
            "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9) | ANY_JSON}) | ANY_JSON,
        },
    ),
    st.binary(max_size=12),
)
def test_strange_tensors_are_read_or_refused(entry: Json, raw: bytes) -> None:
    header = orjson.dumps({"inputs": [entry], "outputs": [entry]})
    survives(header + raw, len(header))


def test_refusing_leaves_no_memory_behind() -> None:
    body, length = _good()
    huge = orjson.dumps({"inputs": [binary(2**30, shape=[2**30])]})
    cases = [(huge, len(huge)), (body[:-1], length), (body + b"x", length), (body, length + 1)]

    def refuse(times: int) -> None:
        for _ in range(times):
            for case in cases:
                with contextlib.suppress(BadInput):
                    decode_request(*case)
        gc.collect()

    refuse(20)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        refuse(60)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert peak - before < 1_000_000
