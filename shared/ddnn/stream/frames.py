"""The frames of a stream: a length, a kind, what the kind says; both ways, pure, and strict as a reader.

The protocol's page has them byte by byte. Whatever is wrong with a frame is a `BadInput` with a sentence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import orjson

from ddnn.errors import BadInput
from ddnn.stream.varints import Reader, varint

__all__ = ["PATH", "PRESSED", "PROTOCOL", "Cut", "Down", "Refused", "Up", "bulletin", "credit", "framed"]
__all__ += ["read_bulletin", "read_refusal", "read_share", "refusal"]

PATH: Final = "/v2/stream"
PROTOCOL: Final = "ddnn-stream/1"  #: what a connection is upgraded to

PRESSED: Final = "pressed"  #: fact of a bulletin: the share of the events that is better kept from the tier above
_MOST_TEXT: Final = 4096


class Up(IntEnum):
    """Kinds of frames from a tier to the one above; flags of an `ASK` are in its upper bits."""

    DESCRIBE = 1  #: what requests of a number have in common
    ASK = 2  #: a request
    CANCEL = 3  #: whose answer is not waited for any more
    PING = 4
    TELL = 5  #: a report, packed


class Down(IntEnum):
    """Kinds of frames from the tier above."""

    ANSWER = 1
    REFUSAL = 2
    BULLETIN = 3  #: what the tier below follows
    PONG = 4
    CREDIT = 5  #: how many requests may be without an answer


def framed(kind: int, payload: bytes = b"") -> bytes:
    """A frame as its bytes."""
    return b"".join((varint(len(payload) + 1), bytes((kind,)), payload))


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is not answered, and why, as HTTP would say it."""

    number: int
    status: int
    after_s: int  #: when to ask again; 0: nothing is said
    code: str
    message: str


def refusal(refused: Refused) -> bytes:
    head = varint(refused.number) + varint(refused.status) + varint(refused.after_s)
    code = refused.code.encode()
    return framed(Down.REFUSAL, b"".join((head, varint(len(code)), code, refused.message.encode()[:_MOST_TEXT])))


def read_refusal(payload: bytes) -> Refused:
    reader = Reader(payload)
    number, status, after_s = reader.number(), reader.number(599), reader.number(86_400)
    if status < 400:
        raise BadInput(f"a refusal has the status {status}; expected 400 to 599")
    code = reader.take(reader.number(64)).decode("ascii", "replace")
    return Refused(number, status, after_s, code, reader.rest().decode("utf-8", "replace")[:_MOST_TEXT])


def bulletin(facts: Mapping[str, str]) -> bytes:
    return framed(Down.BULLETIN, orjson.dumps({name: fact for name, fact in facts.items() if fact}))


def read_bulletin(payload: bytes) -> dict[str, str]:
    """Facts by name; raise `BadInput`."""
    try:
        facts: Any = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"a bulletin is not valid JSON ({error})") from error
    if not isinstance(facts, dict) or not all(isinstance(fact, str) for fact in facts.values()):
        raise BadInput("a bulletin is no JSON object of strings")
    return facts


def read_share(text: str) -> float:
    """A share, 0 to 1; what is none is 0."""
    if not re.fullmatch(r"[01](\.[0-9]{1,9})?", text):
        return 0.0
    return min(float(text), 1.0)


def credit(most: int) -> bytes:
    return framed(Down.CREDIT, varint(most))


@dataclass(eq=False)
class Cut:
    """Cuts what comes on a connection into frames; one of more than `most` bytes is a `BadInput`."""

    most: int
    _data: bytearray = field(default_factory=bytearray)

    @property
    def waiting(self) -> int:
        """Bytes of a frame that is not whole."""
        return len(self._data)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are whole now, each its kind with its flags, and its payload."""
        if self._data:
            self._data += data
            data = bytes(self._data)
        frames, at, size = [], 0, len(data)
        while at < size:
            length = data[at]
            start = at + 1
            if length > 127:
                head = Reader(data[at : at + 9])
                try:
                    length = head.number()
                except BadInput:
                    if size - at < 9:
                        break  # more of it is coming
                    raise
                start = at + head.at
            if not 0 < length <= self.most:
                raise BadInput(f"a frame has {length} bytes; expected 1 to {self.most}")
            if start + length > size:
                break
            frames.append((data[start], data[start + 1 : start + length]))
            at = start + length
        self._data = bytearray(data[at:]) if at < size else bytearray()
        return frames
