"""A stock client of the protocol against all three tiers, binary and JSON."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.fleet.processes import LocalFleet
from ddnn.task import entropy, probabilities
from ddnn.types import Array, Exit

ROWS = 4
EXIT = {"device": "device", "edge": "edge", "cloud": "cloud"}
DATATYPE = {
    "uint8": "UINT8",
    "float16": "FP16",
    "float32": "FP32",
    "bool": "BOOL",
    "float64": "FP64",
    "object": "BYTES",
}
OUTPUTS = {
    "label": "INT64",
    "probabilities": "FP32",
    "exit": "BYTES",
    "confidence": "FP32",
    "degraded": "BOOL",
    "degraded_reason": "BYTES",
    "devices": "BOOL",
    "policy_version": "INT64",
    "bytes_up": "INT64",
    "late": "BOOL",
}


@pytest.fixture(params=["device", "edge", "cloud"])
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(tier: str, served: LocalFleet) -> Iterator[InferenceServerClient]:
    url = {"device": served.device_urls[0], "edge": served.edge_urls[0], "cloud": served.cloud_url}[tier]
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def request_of(tier: str, bundle: Bundle) -> tuple[dict[str, Array], dict[str, Any]]:
    """The first golden events as this tier takes them, answered by its own last exit."""
    golden, codec = bundle.golden, bundle.topology.score_codec(Exit.DEVICE)
    inputs: dict[str, Array] = {
        "device": {"view": golden["view_0"][:ROWS]},
        "edge": {
            "scores": codec.pack(golden["device_scores"][:ROWS, 0]),
            "features": golden["device_features"][:ROWS, 0],
        },
        "cloud": {"features": golden["edge_features"][:ROWS, 0], "present": golden["present"][:ROWS]},
    }[tier]
    return inputs, {"max_exit": EXIT[tier], **({"device": 0} if tier == "edge" else {})}


def infer_inputs(inputs: dict[str, Array], *, binary: bool) -> list[InferInput]:
    made = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), DATATYPE[array.dtype.name])
        tensor.set_data_from_numpy(np.ascontiguousarray(array), binary_data=binary)
        made.append(tensor)
    return made


def test_the_server_says_what_it_is(client: InferenceServerClient, tier: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("ddnn")
    metadata = client.get_server_metadata()
    assert metadata["name"] == f"ddnn-{tier}"
    assert "binary_tensor_data" in metadata["extensions"]


def test_the_model_says_what_it_takes_and_gives(client: InferenceServerClient, tier: str, every_exit: Bundle) -> None:
    metadata = client.get_model_metadata("ddnn")
    described = {tensor["name"]: tensor for tensor in metadata["inputs"]}
    for name, array in request_of(tier, every_exit)[0].items():
        assert described[name]["datatype"] == DATATYPE[array.dtype.name]
        assert described[name]["shape"] == [-1, *array.shape[1:]]
    given = {tensor["name"]: tensor["datatype"] for tensor in metadata["outputs"]}
    own = {"device": {"class_name": "BYTES"}, "edge": {"need_features": "BOOL"}, "cloud": {}}
    assert given == {**OUTPUTS, **own[tier]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_answers_are_right_in_binary_and_json(
    client: InferenceServerClient, tier: str, served: LocalFleet, every_exit: Bundle, binary_in: bool, binary_out: bool
) -> None:
    inputs, parameters = request_of(tier, every_exit)
    wanted = [InferRequestedOutput(name, binary_data=binary_out) for name in OUTPUTS]
    result = client.infer(
        "ddnn",
        infer_inputs(inputs, binary=binary_in),
        outputs=wanted,
        request_id="r-1",
        parameters=parameters,
    )
    response = result.get_response()
    assert response["model_name"] == "ddnn"
    assert response["id"] == "r-1"
    assert {tensor["name"]: tensor["datatype"] for tensor in response["outputs"]} == OUTPUTS
    assert all(("data" in tensor) != binary_out for tensor in response["outputs"])
    p = result.as_numpy("probabilities")
    assert p.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert result.as_numpy("label").tolist() == p.argmax(axis=1).tolist()
    assert result.as_numpy("confidence") == pytest.approx(1 - entropy(p.astype(np.float32)), abs=1e-5)
    assert not result.as_numpy("degraded").any()
    with Client(served.cloud_url) as cloud:  # other tests of this fleet change its policy
        version = cloud.status()["policy"]["version"]
    assert result.as_numpy("policy_version").tolist() == [version] * ROWS
    if tier != "edge":  # one device alone is not what the golden events' edge saw
        golden = (
            every_exit.golden["cloud_scores"][:ROWS]
            if tier == "cloud"
            else every_exit.golden["device_scores"][:ROWS, 0]
        )
        assert p == pytest.approx(probabilities(golden[:ROWS]), abs=1e-4)
        assert {as_text(value) for value in result.as_numpy("exit")} == {tier}
    everybody = tier == "cloud"
    assert result.as_numpy("devices").tolist() == [[everybody or n == 0 for n in range(6)]] * ROWS


def as_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_only_the_outputs_asked_for_come_back_and_in_that_order(
    client: InferenceServerClient, tier: str, every_exit: Bundle
) -> None:
    inputs, parameters = request_of(tier, every_exit)
    wanted = [InferRequestedOutput("exit", binary_data=True), InferRequestedOutput("label", binary_data=False)]
    result = client.infer("ddnn", infer_inputs(inputs, binary=True), outputs=wanted, parameters=parameters)
    assert [tensor["name"] for tensor in result.get_response()["outputs"]] == ["exit", "label"]
    assert result.as_numpy("probabilities") is None


@pytest.mark.parametrize("binary", [True, False])
def test_event_ids_are_bytes_tensors(
    client: InferenceServerClient, tier: str, every_exit: Bundle, binary: bool
) -> None:
    inputs, parameters = request_of(tier, every_exit)
    inputs["event"] = np.array([f"{tier} {binary} é{n}" for n in range(ROWS)], np.object_)
    result = client.infer(
        "ddnn", infer_inputs(inputs, binary=binary), parameters={**parameters, "wait_ms": 0, "max_exit": "local"}
    )
    assert (result.as_numpy("label") >= 0).all()


@pytest.mark.parametrize("binary", [True, False])
def test_photographs_are_bytes_and_answers_name_their_class(
    served: LocalFleet, every_exit: Bundle, binary: bool
) -> None:
    files = [file.read_bytes() for file in sorted((Path(__file__).parents[1] / "photographs").glob("*.jpg"))]
    assert len(files) == 3
    picture = np.array(files if binary else [b64encode(file) for file in files], np.object_)
    with InferenceServerClient(served.device_urls[0].removeprefix("http://")) as client:
        result = client.infer("ddnn", infer_inputs({"picture": picture}, binary=binary))
    named = [as_text(name) for name in result.as_numpy("class_name")]
    assert named == [every_exit.manifest.classes[label] for label in result.as_numpy("label")]


def test_event_ids_may_be_a_column(client: InferenceServerClient, tier: str, every_exit: Bundle) -> None:
    inputs, parameters = request_of(tier, every_exit)
    inputs["event"] = np.array([[f"column {tier} {n}"] for n in range(ROWS)], np.object_)
    result = client.infer("ddnn", infer_inputs(inputs, binary=True), parameters={**parameters, "wait_ms": 0})
    assert (result.as_numpy("label") >= 0).all()


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_packed_requests_go_in(client: InferenceServerClient, tier: str, every_exit: Bundle, packed: str) -> None:
    inputs, parameters = request_of(tier, every_exit)
    tensors = infer_inputs(inputs, binary=True)
    result = client.infer("ddnn", tensors, parameters=parameters, request_compression_algorithm=packed)
    assert result.as_numpy("label").shape == (ROWS,)


def test_a_refusal_is_the_clients_own_exception_with_our_sentence(
    client: InferenceServerClient, tier: str, every_exit: Bundle
) -> None:
    inputs, parameters = request_of(tier, every_exit)
    with pytest.raises(InferenceServerException, match="model 'other' is unknown"):
        client.infer("other", infer_inputs(inputs, binary=True), parameters=parameters)
    name, array = next(iter(inputs.items()))
    tensors = infer_inputs({**inputs, name: array.astype(np.float64)}, binary=True)
    with pytest.raises(InferenceServerException, match=f"input tensor '{name}' is FP64"):
        client.infer("ddnn", tensors, parameters=parameters)


def test_it_lists_the_models(tier: str, client: InferenceServerClient) -> None:
    expected = {"name": "ddnn", "version": "1", "state": "READY", "reason": ""}
    assert client.get_model_repository_index() == [expected]
    response = client._get("v2/models", None, None)
    assert response.status_code == 200
    assert response.read() == b'{"models":["ddnn"]}'
