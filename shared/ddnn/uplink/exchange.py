"""One request to the tier above and its answer, however they go."""

from collections.abc import Mapping
from dataclasses import dataclass

from ddnn.types import Answer, Array
from ddnn.uplink.transport import NoReply, Reason
from ddnn.wire import InferResponse, Parameters

__all__ = ["Call", "Exchange", "refused"]


@dataclass(frozen=True, slots=True)
class Exchange:
    answers: list[Answer]
    headers: Mapping[str, str]
    sent: int
    received: int
    response: InferResponse | None = None


@dataclass(slots=True)
class Call:
    inputs: Mapping[str, Array]
    parameters: Parameters
    headers: Mapping[str, str]
    deadline: float
    rows: int
    id: str
    wire: tuple[bytes, dict[str, str]] | None = None  #: body and headers by HTTP, once they are needed
    sent: int = 0  #: bytes of the tries before


def refused(url: str, status: int, said: str, after: str | None) -> NoReply:
    message = f"{url} answered {status}: {said}"
    if status in (429, 503):
        return NoReply("refused", message, again=True, after_s=_seconds(after), gone=status == 503)
    if status == 504:
        return NoReply("timeout", message)
    slugs: dict[int, Reason] = {401: "unauthorized", 403: "unauthorized", 409: "other_bundle"}
    return NoReply(slugs.get(status, "error"), message, lives=400 <= status < 500)


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
