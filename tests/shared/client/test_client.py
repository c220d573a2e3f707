"""The client says what was asked and gives back what was answered, sync and async alike."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest

from ddnn.answers import answers_to_outputs
from ddnn.client import AsyncClient, AsyncFleet, Client, Fleet, answer_event
from ddnn.errors import BadInput, DDNNError, DeadlineExceeded, OtherBundle, Overloaded, Unauthorized, Unavailable
from ddnn.types import Answer, Exit
from ddnn.wire import HEADER_LENGTH, InferRequest, decode_request, encode_error, encode_response

T = TypeVar("T")

DEVICES = 3


async def settled(value: T | Awaitable[T]) -> T:
    return await value if inspect.isawaitable(value) else value


class Devices:
    """Devices at http://0, http://1, …: each labels an event with its own index, device 1 through the cloud."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.fails: dict[str, DDNNError | Exception | bytes] = {}

    def asked(self) -> dict[str, InferRequest]:
        return {
            request.url.host: decode_request(request.content, request.headers[HEADER_LENGTH])
            for request in self.requests
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        failure = self.fails.get(request.url.host)
        if isinstance(failure, DDNNError):
            body = encode_error(failure, request_id="r", tier="device")
            return httpx.Response(failure.status, content=body)
        if isinstance(failure, Exception):
            raise failure
        if isinstance(failure, bytes):
            return httpx.Response(200, content=failure)
        if request.method == "GET":
            return httpx.Response(200, json={"path": request.url.path})
        decoded = decode_request(request.content, request.headers[HEADER_LENGTH])
        index = int(request.url.host)
        answer = Answer(
            label=index,
            probabilities=np.eye(DEVICES, dtype=np.float32)[index],
            exit=Exit.CLOUD if index == 1 else Exit.EDGE,
            confidence=0.5,
            devices=np.ones(DEVICES, np.bool_),
            policy_version=1,
            bytes_up=100 + index,
        )
        rows = [answer] * len(decoded.inputs["view"])
        content, headers = encode_response(answers_to_outputs(rows, need_features=False), decoded)
        return httpx.Response(200, content=content, headers=headers)


@pytest.fixture
def devices() -> Devices:
    return Devices()


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, devices: Devices) -> Any:
    kind = Client if request.param == "sync" else AsyncClient
    return kind("http://1/", token="secret", transport=httpx.MockTransport(devices))


@pytest.fixture(params=["sync", "async"])
def fleet(request: pytest.FixtureRequest, devices: Devices) -> Iterator[Any]:
    urls = [f"http://{index}" for index in range(DEVICES)]
    if request.param == "async":
        yield AsyncFleet(urls, transport=httpx.MockTransport(devices))
        return
    with Fleet(urls, transport=httpx.MockTransport(devices)) as fleet:
        yield fleet


def views(*present: bool) -> list[Any]:
    return [np.full((1, 2, 2), index, np.uint8) if there else None for index, there in enumerate(present)]


async def test_infer_sends_views_events_and_options(client: Any, devices: Devices) -> None:
    view = np.arange(8, dtype=np.float64).reshape(2, 4)
    options = {"deadline_ms": 250, "max_exit": "edge", "threshold": 0.25, "wait_ms": 40, "request_id": "r-1"}
    answers = await settled(client.infer(view, events=["a", "b"], **options))
    assert [(answer.label, answer.exit) for answer in answers] == [(1, Exit.CLOUD)] * 2
    (request,) = devices.requests
    decoded = devices.asked()["1"]
    assert decoded.id == "r-1"
    assert decoded.parameters == {"max_exit": "edge", "threshold": 0.25, "wait_ms": 40}
    assert decoded.inputs["event"].tolist() == [b"a", b"b"]
    np.testing.assert_array_equal(decoded.inputs["view"], view.astype(np.float32), strict=True)
    assert request.headers["x-ddnn-deadline-ms"] == "250"
    assert request.headers["x-request-id"] == "r-1"
    assert request.headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("given", "sent"), [(np.bool_, np.uint8), (np.uint8, np.uint8), (np.int64, np.float32), (np.float16, np.float32)]
)
async def test_views_go_as_the_types_they_are_learnt_in(client: Any, devices: Devices, given: Any, sent: Any) -> None:
    view = np.array([[0, 1, 1], [1, 0, 1]], given)
    await settled(client.infer(view))
    np.testing.assert_array_equal(devices.asked()["1"].inputs["view"], view.astype(sent), strict=True)


async def test_a_plain_request_says_nothing_it_was_not_told(client: Any, devices: Devices) -> None:
    await settled(client.infer([[1.0, 2.0]]))
    decoded = devices.asked()["1"]
    assert list(decoded.inputs) == ["view"]
    assert decoded.parameters == {}
    assert "x-ddnn-deadline-ms" not in devices.requests[0].headers


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (lambda client: client.metadata(), "/v2/models/ddnn"),
        (lambda client: client.status(), "/v2/status"),
        (lambda client: client.policy(), "/v2/policy"),
    ],
)
async def test_documents_are_read(client: Any, ask: Callable[[Any], Any], path: str) -> None:
    assert await settled(ask(client)) == {"path": path}


async def test_health_is_a_yes_or_no(client: Any, devices: Devices) -> None:
    assert (await settled(client.ready()), await settled(client.live())) == (True, True)
    devices.fails["1"] = Unavailable("draining")
    assert not await settled(client.ready())
    devices.fails["1"] = httpx.ConnectError("refused")
    assert not await settled(client.live())


@pytest.mark.parametrize(
    "error",
    [BadInput("x"), Unauthorized("x"), OtherBundle("x"), Overloaded("x"), DeadlineExceeded("x"), DDNNError("x")],
)
async def test_a_tiers_error_is_raised_as_what_it_was(client: Any, devices: Devices, error: DDNNError) -> None:
    devices.fails["1"] = error
    with pytest.raises(DDNNError, match=r"^x$") as caught:
        await settled(client.infer([[1.0]]))
    assert type(caught.value) is type(error)


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        (httpx.ConnectError("refused"), Unavailable, r"http://1 cannot be reached \(refused\)"),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"), Unavailable, "SSL_CERT_FILE names the authority"),
        (httpx.ReadError(""), Unavailable, r"http://1: the connection broke \(ReadError\)"),
        (httpx.ReadTimeout("slow"), DeadlineExceeded, "http://1 gave no answer in time"),
        (b"<html>", DDNNError, "http://1 answered nonsense: the JSON"),
        (b'{"outputs":[]}', DDNNError, "http://1 answered nonsense: output 'label' is missing"),
    ],
)
async def test_every_failure_is_one_of_ours(
    client: Any, devices: Devices, failure: Exception | bytes, kind: type[DDNNError], says: str
) -> None:
    devices.fails["1"] = failure
    with pytest.raises(DDNNError, match=says) as caught:
        await settled(client.infer([[1.0]]))
    assert type(caught.value) is kind


async def test_events_must_be_as_many_as_views(client: Any) -> None:
    with pytest.raises(BadInput, match=r"2 event ids for views of shape \[1, 1\]"):
        await settled(client.infer([[1.0]], events=["a", "b"]))


async def test_a_fleet_joins_the_devices_answers(fleet: Any, devices: Devices) -> None:
    answer = await settled(fleet.answer_event(views(True, True, True), event="a", deadline_ms=500))
    assert (answer.event, answer.label, answer.exit, answer.bytes_up) == ("a", 1, Exit.CLOUD, 303)
    assert [own.label for own in answer.answers] == [0, 1, 2]
    assert answer.errors == {}
    asked = devices.asked()
    assert {request.inputs["event"].tolist()[0] for request in asked.values()} == {b"a"}
    assert {host: request.inputs["view"].tolist() for host, request in asked.items()} == {
        str(index): [[[[index, index], [index, index]]]] for index in range(DEVICES)
    }


async def test_a_device_without_a_view_is_not_asked(fleet: Any, devices: Devices) -> None:
    answer = await settled(fleet.answer_event(views(True, False, True)))
    assert sorted(devices.asked()) == ["0", "2"]
    assert (answer.label, answer.answers[1]) == (0, None)
    assert len(answer.event) == 32
    assert len({request.inputs["event"][0] for request in devices.asked().values()}) == 1


async def test_a_failing_device_does_not_fail_the_event(fleet: Any, devices: Devices) -> None:
    devices.fails = {"1": httpx.ConnectError("refused"), "2": Overloaded("no room")}
    answer = await settled(fleet.answer_event(views(True, True, True)))
    assert (answer.label, answer.bytes_up) == (0, 100)
    assert {device: type(error) for device, error in answer.errors.items()} == {1: Unavailable, 2: Overloaded}
    devices.fails["0"] = Overloaded("no room here")
    with pytest.raises(Overloaded, match="no device answered event 'a': device 0: no room here, and 2 more failed"):
        await settled(fleet.answer_event(views(True, True, True), event="a"))


async def test_many_events_go_in_one_request_a_device(fleet: Any, devices: Devices) -> None:
    batch = [np.arange(4, dtype=np.uint8).reshape(4, 1)] * DEVICES
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 0, 0]], np.bool_)
    answers = await settled(fleet.answer_events(batch, events=list("abcd"), present=present))
    assert [(answer.event, answer.label) for answer in answers] == [("a", 1), ("b", 0), ("c", 2), ("d", 0)]
    asked = devices.asked()
    assert {host: request.inputs["event"].tolist() for host, request in asked.items()} == {
        "0": [b"a", b"b", b"d"],
        "1": [b"a"],
        "2": [b"a", b"b", b"c"],
    }
    assert asked["0"].inputs["view"].ravel().tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        (views(True), {}, "1 views for 3 devices"),
        ([None, None, None], {}, "the views are of no events"),
        ([np.zeros((2, 1)), np.zeros((1, 1)), None], {}, r"the views are of \[1, 2\] events"),
        ([np.zeros((2, 1))] * 3, {"events": ["a"]}, "1 different event ids for 2 events"),
        ([np.zeros((2, 1))] * 3, {"events": ["a", "a"]}, "1 different event ids for 2 events"),
        ([np.zeros((1, 1))] * 3, {"present": np.ones((1, 2), np.bool_)}, r"`present` is \[1, 2\]; expected \[1, 3\]"),
        (
            [np.zeros((1, 1))] * 3,
            {"events": ["a"], "present": np.zeros((1, 3), np.bool_)},
            "event 'a' has no view of any device",
        ),
    ],
)
async def test_views_that_do_not_fit_are_refused_before_anyone_is_asked(
    fleet: Any, devices: Devices, given: list[Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        await settled(fleet.answer_events(given, **options))
    assert devices.requests == []


def test_a_dead_fleet_is_said_to_be_unreachable() -> None:
    with pytest.raises(Unavailable, match=r"device 0: http://127\.0\.0\.1:1 cannot be reached"):
        answer_event([np.zeros(2, np.uint8)], devices=["http://127.0.0.1:1"])


async def test_a_dead_fleet_is_unreachable_to_those_who_await_too() -> None:
    async with AsyncFleet(["http://127.0.0.1:1"]) as fleet:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await fleet.answer_event([np.zeros(2, np.uint8)])


@pytest.mark.parametrize("token", ["two\r\nlines", "grün", "\0"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_that_no_header_can_carry_is_a_sentence(kind: type[Client] | type[AsyncClient], token: str) -> None:
    with pytest.raises(BadInput, match="the token has a control character or one beyond ASCII"):
        kind("http://127.0.0.1:1", token)
