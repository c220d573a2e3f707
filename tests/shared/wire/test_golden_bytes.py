"""The exact bytes of the wire format, written out: a change here breaks other people's programs."""

import numpy as np

from ddnn.types import Array
from ddnn.wire import InferRequest, decode_request, decode_response, encode_request, encode_response

REQUEST_HEADER = (
    b'{"id":"7","parameters":{"device":2,"binary_data_output":true},"inputs":['
    b'{"name":"event","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":8}},'
    b'{"name":"scores","datatype":"FP32","shape":[1,3],"parameters":{"binary_data_size":12}},'
    b'{"name":"features","datatype":"UINT8","shape":[1,2],"parameters":{"binary_data_size":2}}]}'
)
REQUEST_TENSORS = (
    b"\x04\x00\x00\x00ev-1"  # a 4-byte length, then the text
    b"\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f"  # 1.0, -2.0, 0.5
    b"\x81\xff"
)
RESPONSE_HEADER = (
    b'{"model_name":"ddnn","model_version":"1","id":"7","outputs":['
    b'{"name":"label","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}},'
    b'{"name":"exit","datatype":"BYTES","shape":[1],"data":["edge"]},'
    b'{"name":"degraded","datatype":"BOOL","shape":[1],"parameters":{"binary_data_size":1}}]}'
)
RESPONSE_TENSORS = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x01"  # -2, true


def inputs() -> dict[str, Array]:
    return {
        "event": np.array([b"ev-1"], dtype=np.object_),
        "scores": np.array([[1, -2, 0.5]], dtype=np.float32),
        "features": np.array([[0x81, 0xFF]], dtype=np.uint8),
    }


def test_a_binary_request_is_these_bytes() -> None:
    body, headers = encode_request(inputs(), id="7", parameters={"device": 2})
    assert body == REQUEST_HEADER + REQUEST_TENSORS
    assert headers == {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(REQUEST_HEADER)),
    }


def test_these_bytes_are_a_binary_request() -> None:
    request = decode_request(REQUEST_HEADER + REQUEST_TENSORS, str(len(REQUEST_HEADER)))
    assert (request.id, request.parameters, request.outputs, request.binary_default) == ("7", {"device": 2}, None, True)
    assert request.inputs.keys() == inputs().keys()
    for name, array in inputs().items():
        np.testing.assert_array_equal(request.inputs[name], array, strict=True)


def test_a_response_mixes_binary_and_json_as_it_was_asked_to() -> None:
    request = InferRequest("7", {}, {}, {"label": True, "exit": False, "degraded": True}, False)
    outputs: dict[str, Array] = {
        "degraded": np.array([True]),
        "exit": np.array([b"edge"], dtype=np.object_),
        "label": np.array([-2]),
        "unwanted": np.zeros(3),
    }
    body, headers = encode_response(outputs, request)
    assert body == RESPONSE_HEADER + RESPONSE_TENSORS
    assert headers["Inference-Header-Content-Length"] == str(len(RESPONSE_HEADER))


def test_these_bytes_are_a_response() -> None:
    response = decode_response(RESPONSE_HEADER + RESPONSE_TENSORS, len(RESPONSE_HEADER))
    assert (response.id, response.model_version, response.parameters) == ("7", "1", {})
    assert {name: array.tolist() for name, array in response.outputs.items()} == {
        "label": [-2],
        "exit": [b"edge"],
        "degraded": [True],
    }


def test_a_json_request_is_this_text() -> None:
    body, headers = encode_request({"view": np.array([[1, 2]], np.uint8)}, binary=False, binary_output=False)
    assert body == b'{"inputs":[{"name":"view","datatype":"UINT8","shape":[1,2],"data":[1,2]}]}'
    assert headers == {"Content-Type": "application/json"}
