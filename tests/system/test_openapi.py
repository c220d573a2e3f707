"""Each tier against its own OpenAPI page: whatever comes in, an answer or a documented refusal."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema

import ddnn_cloud.app
import ddnn_device.app
import ddnn_edge.app
from ddnn.bundle import Bundle
from ddnn.settings import Settings

MAKERS: dict[str, Callable[[Settings], FastAPI]] = {
    "device": ddnn_device.app.create_app,
    "edge": ddnn_edge.app.create_app,
    "cloud": ddnn_cloud.app.create_app,
}
DOCUMENTED_5XX = (503, 504)
BOUNDED = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
# A page cannot say that `data` must fit `shape`, and `shape` the manifest: valid by the page may still be 400.
EXCLUDED: list[Any] = [positive_data_acceptance]


def can_be_wrong(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    """Whether there is anything to get wrong in a request."""
    return bool(operation.path_parameters or operation.query or operation.body)


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The app behind real HTTP on a free port, on a thread of its own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()  # a connection waits from here on, so nobody is refused while the server starts
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module", params=MAKERS)
def page(request: pytest.FixtureRequest, impatient_bundle: Path) -> Iterator[BaseSchema]:
    """The OpenAPI page of one tier that has nobody above it."""
    with listening(MAKERS[request.param](Settings.load(bundle=impatient_bundle, threads=1))) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.fixture(scope="module")
def impatient_bundle(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose policy waits for nobody."""
    import shutil

    path = Path(shutil.copytree(tiny_bundle.path, tmp_path_factory.mktemp("bundles") / "impatient"))
    tiny_bundle.policy.model_copy(update={"wait_ms": 0.0}).write(path)
    return path


@pytest.mark.parametrize("mode", GenerationMode)
def test_a_tier_does_what_its_page_says(page: BaseSchema, mode: GenerationMode) -> None:
    operations = [result.ok() for result in page.get_all_operations() if isinstance(result, Ok)]
    assert {operation.path for operation in operations} >= {"/v2", "/v2/models/{model}/infer", "/v2/status", "/metrics"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not can_be_wrong(operation):
            continue

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Case[Any]) -> None:
            response = case.call()
            assert response.status_code < 500 or response.status_code in DOCUMENTED_5XX, response.text
            case.validate_response(response, excluded_checks=EXCLUDED)

        holds()


def test_the_example_of_the_page_is_answered_as_the_page_says(page: BaseSchema) -> None:
    operation = page["/v2/models/{model}/infer"]["POST"]
    example = operation.definition.raw["requestBody"]["content"]["application/json"]["example"]
    case = operation.Case(path_parameters={"model": "ddnn"}, body=example, media_type="application/json")
    response = case.call()
    assert response.status_code == 200, response.text
    case.validate_response(response)
    outputs = {tensor["name"]: tensor["data"] for tensor in response.json()["outputs"]}
    assert 0 <= outputs["label"][0] < len(outputs["probabilities"])
