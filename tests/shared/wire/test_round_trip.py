"""What goes in comes out, for every datatype, any shape, binary and JSON."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ddnn.types import Array
from ddnn.wire import DATATYPES, InferRequest, decode_request, decode_response, encode_request, encode_response, padded

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn, text_only: bool = False) -> Array:
    datatype = draw(st.sampled_from(list(DATATYPES)))
    shape = draw(SHAPES)
    if datatype != "BYTES":
        elements = hnp.from_dtype(DATATYPES[datatype], allow_nan=False, allow_infinity=False)
        return draw(hnp.arrays(DATATYPES[datatype], shape, elements=elements))
    items = st.text(max_size=4).map(str.encode) if text_only else st.binary(max_size=4)
    array: Array = np.empty(shape, np.object_)
    array.ravel()[:] = draw(st.lists(items, min_size=array.size, max_size=array.size))
    return array


def same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.aligned


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), arrays(), max_size=4), st.text(max_size=5))
def test_binary_requests_come_back_as_they_were(inputs: dict[str, Array], id: str) -> None:
    body, headers = encode_request(inputs, id=id, parameters={"device": 3, "max_exit": "edge", "threshold": 0.5})
    request = decode_request(memoryview(body), headers.get("Inference-Header-Content-Length"))
    assert (request.id, request.binary_default) == (id, True)
    assert request.parameters == {"device": 3, "max_exit": "edge", "threshold": 0.5}
    same(request.inputs, inputs)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), arrays(text_only=True), max_size=4))
def test_json_requests_come_back_as_they_were(inputs: dict[str, Array]) -> None:
    body, headers = encode_request(inputs, binary=False, binary_output=False)
    assert headers == {"Content-Type": "application/json"}
    request = decode_request(body)
    assert not request.binary_default
    same(request.inputs, inputs)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(arrays(text_only=True), st.booleans()), max_size=4))
def test_responses_come_back_as_they_were(tensors: list[tuple[Array, bool]]) -> None:
    outputs = {str(index): array for index, (array, _) in enumerate(tensors)}
    wanted = {str(index): binary for index, (_, binary) in enumerate(tensors)}
    body, headers = encode_response(outputs, InferRequest("a", {}, {}, wanted or None, False))
    response = decode_response(body, headers.get("Inference-Header-Content-Length"))
    assert response.id == "a"
    same(response.outputs, outputs)


@pytest.mark.parametrize("text", ["[[[1,2]],[[3,4]]]", "[1,2,3,4]"])
def test_json_data_may_be_nested_or_flat(text: str) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2,1,2],"data":%s}]}' % text.encode()
    same(decode_request(body).inputs, {"x": np.array([[[1, 2]], [[3, 4]]], np.float32)})


def test_arrays_that_are_not_contiguous_or_little_endian_are_sent_right() -> None:
    inputs = {
        "t": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "big": np.array([1, 2], ">f8"),
        "text": np.array(["a"]),
    }
    body, headers = encode_request(inputs)
    found = decode_request(body, headers["Inference-Header-Content-Length"]).inputs
    assert {name: array.tolist() for name, array in found.items()} == {
        "t": [[0, 3], [1, 4], [2, 5]],
        "big": [1, 2],
        "text": [b"a"],
    }


def test_aligned_tensors_are_read_in_place() -> None:
    body, headers = encode_request({"x": np.zeros(1000, np.uint8)})
    array = decode_request(body, headers["Inference-Header-Content-Length"]).inputs["x"]
    assert array.base is not None
    assert not array.flags.owndata


def test_outputs_follow_the_requests_default() -> None:
    outputs: dict[str, Array] = {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.int64)}
    body = (
        b'{"inputs":[],"outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}}],'
        b'"parameters":{"binary_data_output":true}}'
    )
    request = decode_request(body)
    assert request.outputs == {"a": True, "b": False}
    assert request.parameters == {}
    response, headers = encode_response(outputs, request)
    assert len(response) - int(headers["Inference-Header-Content-Length"]) == 4


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), arrays(text_only=True), max_size=4), st.booleans())
def test_padding_makes_a_body_a_multiple_and_leaves_what_it_says(inputs: dict[str, Array], binary: bool) -> None:
    plain, headers = encode_request(inputs, binary=binary)
    body, named = padded(plain, headers, 512)
    assert len(body) == -(-len(plain) // 512) * 512
    assert named.keys() == headers.keys()
    assert len(named.get("Inference-Header-Content-Length", "8 digits")) == 8
    same(decode_request(body, named.get("Inference-Header-Content-Length")).inputs, inputs)
    assert padded(plain, headers, 0) == (plain, headers)
