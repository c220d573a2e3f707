"""What a client asks and how it reads the answer, without a connection: sync and async share all of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack

import aiohttp
import httpx
import numpy as np
import numpy.typing as npt
import orjson

from ddnn.answers import outputs_to_answers
from ddnn.errors import BadInput, DDNNError, DeadlineExceeded, Unavailable
from ddnn.types import Answer, Array
from ddnn.wire import HEADER_LENGTH, decode_error, decode_response, encode_request, shown

__all__ = ["LIVE", "METADATA", "POLICY", "READY", "STATUS", "Call", "Options", "infer", "session_headers", "translated"]

T = TypeVar("T")

_GRACE_S: Final = 2.0
"""How much longer than its deadline a tier is listened to: it answers by itself, and the way back takes time."""
_PATIENCE_S: Final = 30.0
"""How long a tier is listened to when no deadline was given."""


class Options(TypedDict, total=False):
    """What can be asked of one request."""

    deadline_ms: float | None
    """Time budget in milliseconds; the tier's own by default."""
    max_exit: str | None
    """Answer no higher than this exit: device, local, edge or cloud."""
    threshold: float | None
    """In place of the policy's thresholds: answer at the first exit whose criterion is below it."""
    wait_ms: float | None
    """How long to wait for every other device of the event, alive or not, in milliseconds."""
    request_id: str | None
    """Up to 128 printable characters; comes back in the response, and goes up with a request of its own."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and how to read its answer."""

    method: str
    path: str
    decode: Callable[[httpx.Response], T]
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    patience_s: float = _PATIENCE_S

    def result(self, url: str, response: httpx.Response) -> T:
        """Return what the response says; raise the error it stands for."""
        if response.status_code != 200:
            raise decode_error(response.status_code, response.content)
        try:
            return self.decode(response)
        except BadInput as error:
            raise DDNNError(f"{url} answered nonsense: {error}") from error


def infer(view: npt.ArrayLike, events: Sequence[str] | None, **options: Unpack[Options]) -> Call[list[Answer]]:
    """Ask for the answers to views [B, …], row by row of the events with ids in `events`.

    Floating-point views are sent as FP32.
    """
    array: Array = np.asarray(view)
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    if array.ndim == 0:
        raise BadInput(f"the view is {shown(view)}; expected an array, events first")
    inputs = {"view": array}
    if events is not None:
        if len(events) != len(array):
            raise BadInput(f"there are {len(events)} event ids for views of shape {list(array.shape)}")
        inputs["event"] = np.array([event.encode() for event in events], np.object_)
    deadline_ms, request_id = options.get("deadline_ms"), options.get("request_id")
    given = {
        "max_exit": options.get("max_exit"),
        "threshold": options.get("threshold"),
        "wait_ms": options.get("wait_ms"),
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    body, headers = encode_request(inputs, id=request_id or "", parameters=parameters)
    if deadline_ms is not None:
        headers["x-ddnn-deadline-ms"] = f"{deadline_ms:.0f}"
    if request_id is not None:
        headers["x-request-id"] = request_id
    patience_s = _PATIENCE_S if deadline_ms is None else deadline_ms / 1000 + _GRACE_S

    def decode(response: httpx.Response) -> list[Answer]:
        outputs = decode_response(response.content, response.headers.get(HEADER_LENGTH)).outputs
        return outputs_to_answers(outputs, rows=len(array))

    return Call("POST", "/v2/models/ddnn/infer", decode, body, headers, patience_s)


def session_headers(token: str | None) -> dict[str, str]:
    """Headers of every request."""
    return {"accept-encoding": "identity", **({"authorization": f"Bearer {token}"} if token else {})}


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn whatever fails in talking to `url` into a `DDNNError` with a sentence."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Unavailable(f"{url} cannot be reached ({str(error) or type(error).__name__})") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise DeadlineExceeded(f"{url} gave no answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{url}: the connection broke ({str(error) or type(error).__name__})") from error


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"invalid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput("JSON that is not an object")
    return document


LIVE: Final = Call("GET", "/v2/health/live", lambda _: True)
READY: Final = Call("GET", "/v2/health/ready", lambda _: True)
METADATA: Final = Call("GET", "/v2/models/ddnn", _object)
STATUS: Final = Call("GET", "/v2/status", _object)
POLICY: Final = Call("GET", "/v2/policy", _object)
