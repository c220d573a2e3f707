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
from schemathesis.checks import not_a_server_error, positive_data_acceptance
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import ignored_auth

import ddnn_cloud.app
import ddnn_device.app
import ddnn_edge.app
from ddnn.bundle import Bundle
from ddnn.settings import Settings
from ddnn.wire import HEADER_LENGTH

ADMIN = "may-write-the-policy"
MAKERS: dict[str, Callable[[Settings], FastAPI]] = {
    "device": ddnn_device.app.create_app,
    "edge": ddnn_edge.app.create_app,
    "cloud": ddnn_cloud.app.create_app,
}
BOUNDED = settings(
    max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
# A page cannot say that `data` must fit `shape`, and `shape` the manifest: valid by the page may still be 400.
# A server error is looked for below: one alone is right. The token that every request has here is the right one.
EXCLUDED: list[Any] = [positive_data_acceptance, not_a_server_error, ignored_auth]


def can_be_wrong(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    """Whether there is anything to get wrong in a request."""
    return bool(operation.path_parameters or operation.query or operation.body)


def asks_for_little_time(case: Case[Any]) -> bool:
    """Whether a deadline may pass before there is anything to answer with."""
    return "x-ddnn-deadline-ms" in (case.headers or {}) or "timeout" in str(case.body)


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
    settings = Settings.load(bundle=impatient_bundle, threads=1, admin_token=ADMIN)
    with listening(MAKERS[request.param](settings)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.fixture(scope="module")
def impatient_bundle(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose policy waits for nobody."""
    import shutil

    path = Path(shutil.copytree(tiny_bundle.path, tmp_path_factory.mktemp("bundles") / "impatient"))
    tiny_bundle.policy.model_copy(update={"wait_ms": 0.0}).write(path)
    return path


@pytest.mark.parametrize(
    "mode", [GenerationMode.NEGATIVE, pytest.param(GenerationMode.POSITIVE, marks=pytest.mark.long)]
)
def test_a_tier_does_what_its_page_says(page: BaseSchema, mode: GenerationMode) -> None:
    operations = [result.ok() for result in page.get_all_operations() if isinstance(result, Ok)]
    assert {operation.path for operation in operations} >= {"/v2", "/v2/models/{model}/infer", "/v2/status", "/metrics"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not can_be_wrong(operation):
            continue

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Case[Any]) -> None:
            response = case.call(headers={"authorization": f"Bearer {ADMIN}"})
            assert response.status_code < 500 or (response.status_code == 504 and asks_for_little_time(case))
            case.validate_response(response, excluded_checks=EXCLUDED)

        holds()


def test_a_method_that_a_path_has_not_is_told_those_it_has(page: BaseSchema) -> None:
    def allowed(path: str) -> set[str]:
        response = page[path]["GET"].Case(path_parameters={"model": "ddnn"}, method="OPTIONS").call()
        assert response.status_code == 405
        return {*response.headers["allow"][0].split(", ")}

    assert allowed("/v2/policy") == {"GET", "HEAD", "PUT"}
    assert allowed("/v2/models/{model}/ready") == allowed("/livez") == {"GET", "HEAD"}


def test_the_page_names_headers_the_binary_form_and_the_token(tiny_bundle: Bundle) -> None:
    for token in (None, "s3cret-of-the-tiers"):
        page = ddnn_device.app.create_app(Settings.load(bundle=tiny_bundle.path, threads=1, token=token)).openapi()
        operation = page["paths"]["/v2/models/{model}/infer"]["post"]
        headers = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
        assert headers >= {HEADER_LENGTH, "x-ddnn-deadline-ms", "x-ddnn-bundle", "x-request-id", "traceparent"}
        assert set(operation["requestBody"]["content"]) == {
            *("application/json", "application/octet-stream", "image/jpeg", "image/png", "image/webp")
        }
        queries = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        assert queries >= {"event", "max_exit", "wait_ms"}
        assert operation["security"] == ([{"bearer": []}] if token else [])
        assert page["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_the_example_of_the_page_is_answered_as_the_page_says(page: BaseSchema) -> None:
    operation = page["/v2/models/{model}/infer"]["POST"]
    example = operation.definition.raw["requestBody"]["content"]["application/json"]["example"]
    case = operation.Case(path_parameters={"model": "ddnn"}, body=example, media_type="application/json")
    response = case.call()
    assert response.status_code == 200, response.text
    case.validate_response(response)
    outputs = {tensor["name"]: tensor["data"] for tensor in response.json()["outputs"]}
    assert 0 <= outputs["label"][0] < len(outputs["probabilities"])
