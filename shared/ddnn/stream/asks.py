"""A request on a stream: what requests have in common is described once, each then has its numbers and its tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from ddnn.errors import BadInput
from ddnn.stream.frames import Up, framed
from ddnn.stream.varints import Reader, varint
from ddnn.types import Array
from ddnn.wire import DATATYPES, InferRequest, Parameters, datatype_of, shown

__all__ = ["Ask", "AskReader", "AskWriter", "Described", "describe"]

DESCRIPTIONS: Final = 64  #: that a connection has at once
_MOST_JSON: Final = 8192
_MOST_TENSORS: Final = 16
_MOST_SIZES: Final = 8
_MOST_ROW: Final = 1 << 30
_MOST_ID: Final = 256
_MOST_WAIT_MS: Final = 600_000
_TRACE: Final = 25  #: bytes: trace, parent, flags
_SEVERAL, _TRACED, _NAMED = 0x10, 0x20, 0x40  #: flags of the kind of an `ASK`


@dataclass(frozen=True, slots=True)
class Described:
    """What requests have in common: a tensor's name, datatype and shape of a row each; and the parameters."""

    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    parameters: tuple[tuple[str, bool | int | float | str], ...]

    @classmethod
    def of(cls, inputs: Mapping[str, Array], parameters: Mapping[str, bool | int | float | str]) -> "Described":
        tensors = tuple((name, datatype_of(array), array.shape[1:]) for name, array in inputs.items())
        return cls(tensors, tuple(parameters.items()))

    def text(self) -> bytes:
        """As JSON, in the words of an OIP request; -1 are the rows."""
        inputs = [{"name": name, "datatype": kind, "shape": [-1, *shape]} for name, kind, shape in self.tensors]
        return orjson.dumps({"inputs": inputs, "parameters": dict(self.parameters)})

    @classmethod
    def read(cls, text: bytes) -> "Described":
        """Raise `BadInput`."""
        if len(text) > _MOST_JSON:
            raise BadInput(f"a description has {len(text)} bytes; expected at most {_MOST_JSON}")
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise BadInput(f"a description is not valid JSON ({error})") from error
        inputs = document.get("inputs") if isinstance(document, dict) else None
        parameters = document.get("parameters", {}) if isinstance(document, dict) else None
        if not isinstance(inputs, list) or not isinstance(parameters, dict) or not 0 < len(inputs) <= _MOST_TENSORS:
            raise BadInput(f"a description is no JSON object with 1 to {_MOST_TENSORS} `inputs`, and `parameters`")
        for name, value in parameters.items():
            if not isinstance(value, bool | int | float | str):
                raise BadInput(f"parameter {shown(name)} is {shown(value)}; expected a string, a number or a boolean")
        tensors = tuple(_tensor(entry) for entry in inputs)
        if len({name for name, _, _ in tensors}) < len(tensors):
            raise BadInput("a description has a tensor twice; expected one of each name")
        return cls(tensors, tuple(parameters.items()))


def _tensor(entry: Any) -> tuple[str, str, tuple[int, ...]]:
    entry = entry if isinstance(entry, dict) else {}
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not name or not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadInput(f"a description has the tensor {shown(name)} of datatype {shown(datatype)}; expected both")
    shape = shape if isinstance(shape, list) and all(type(size) is int for size in shape) else []
    if (
        not 0 < len(shape) <= _MOST_SIZES
        or shape[0] != -1
        or min(shape[1:], default=1) < 1
        or math.prod(shape[1:]) > _MOST_ROW
    ):
        raise BadInput(f"tensor {shown(name)} has the shape {shown(shape)}; expected -1, then sizes of a row")
    if name == "event" and (datatype, shape) != ("BYTES", [-1]):
        raise BadInput(f"tensor 'event' is {datatype} {shape}; expected BYTES [-1]")
    return name, datatype, tuple(shape[1:])


def describe(number: int, described: Described) -> bytes:
    """The frame that gives a description a number."""
    return framed(Up.DESCRIBE, varint(number) + described.text())


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, a row an event."""

    number: int  #: what its answer has
    deadline_ms: int  #: time that is left
    request: InferRequest
    traceparent: bytes = b""
    request_id: bytes = b""


class AskWriter:
    """Writes the requests of one connection, each description when it is new; all go out in the order of the calls."""

    def __init__(self) -> None:
        self._numbers: dict[Described, int] = {}
        self._last = b""

    def write(
        self,
        number: int,
        inputs: Mapping[str, Array],
        parameters: Parameters,
        deadline_ms: int,
        *,
        traceparent: bytes = b"",
        request_id: bytes = b"",
    ) -> bytes:
        """The frames of a request; raise `BadInput` for an event id of more than 256 bytes."""
        described = Described.of(inputs, parameters)
        known = self._numbers.get(described)
        before = b""
        if known is None:
            known = len(self._numbers)
            if known >= DESCRIPTIONS:  # the one that was there first makes room
                oldest = next(iter(self._numbers))
                known = self._numbers.pop(oldest)
            self._numbers[described] = known
            before = describe(known, described)
        rows = len(next(iter(inputs.values())))
        kind, parts = int(Up.ASK), [varint(number), varint(known)]
        if rows != 1:
            kind |= _SEVERAL
            parts.append(varint(rows))
        parts.append(varint(min(max(0, deadline_ms), _MOST_WAIT_MS)))
        if trace := _packed_trace(traceparent):
            kind |= _TRACED
            parts.append(trace)
        if request_id:
            kind |= _NAMED
            parts += [varint(len(request_id)), request_id]
        for (name, datatype, _), array in zip(described.tensors, inputs.values(), strict=True):
            if name == "event":
                parts += [self._id(id) for id in array.tolist()]
            else:
                parts.append(_packed(array, datatype))
        return before + framed(kind, b"".join(parts))

    def _id(self, id: bytes) -> bytes:
        """An event id by what is new in it: its last bytes where it is as long as the one before, else all."""
        if len(id) > _MOST_ID:
            raise BadInput(f"an event id has {len(id)} bytes; expected at most {_MOST_ID}")
        last, self._last = self._last, id
        if len(last) != len(id) or not id:
            return varint(len(id) << 1 | 1) + id
        same = 0
        while same < len(id) and id[same] == last[same]:
            same += 1
        return varint(len(id) - same << 1) + id[same:]


def _packed(array: Array, datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join([varint(len(item)) + item for item in array.ravel().tolist()])
    if datatype == "BOOL":
        return np.packbits(array, bitorder="little").tobytes()
    return np.ascontiguousarray(array, DATATYPES[datatype]).tobytes()


def _packed_trace(traceparent: bytes) -> bytes:
    """The 25 bytes of a trace that is recorded; of others nothing is told."""
    try:
        packed = bytes.fromhex(traceparent[3:].replace(b"-", b"").decode())
    except ValueError:
        return b""
    return packed if len(packed) == _TRACE and packed[-1] & 1 else b""


class AskReader:
    """Reads the requests of one connection."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._described: dict[int, tuple[Described, Parameters]] = {}
        self._last = b""

    def describe(self, payload: bytes) -> None:
        """Take a description; raise `BadInput`."""
        reader = Reader(payload)
        number = reader.number(DESCRIPTIONS - 1)
        described = Described.read(reader.rest())
        self._described[number] = described, dict(described.parameters)

    def read(self, kind: int, payload: bytes) -> Ask:
        """A request; raise `BadInput`: the connection is of no more use then, as what follows refers to this."""
        reader = Reader(payload)
        number, which = reader.number(), reader.number()
        if which not in self._described:
            raise BadInput(f"a request has the description {which}, which has not come; expected it before")
        described, parameters = self._described[which]
        rows = reader.number(self._most_rows) if kind & _SEVERAL else 1
        if not rows:
            raise BadInput("a request has 0 rows; expected 1 or more")
        deadline_ms = reader.number(_MOST_WAIT_MS)
        traceparent = request_id = b""
        if kind & _TRACED:
            trace = reader.take(_TRACE).hex()
            traceparent = f"00-{trace[:32]}-{trace[32:48]}-{trace[48:]}".encode()
        if kind & _NAMED:
            request_id = reader.take(reader.number(128))
        inputs = {
            name: self._ids(reader, rows) if name == "event" else _unpacked(reader, datatype, (rows, *shape))
            for name, datatype, shape in described.tensors
        }
        reader.end()
        return Ask(number, deadline_ms, InferRequest("", parameters, inputs, None, True), traceparent, request_id)

    def _ids(self, reader: Reader, rows: int) -> Array:
        ids = np.empty(rows, np.object_)
        if reader.left < rows:
            raise BadInput(f"the frame has {reader.left} bytes left; expected {rows} event ids")
        for row in range(rows):
            size = reader.number(_MOST_ID << 1 | 1)
            new, last = reader.take(size >> 1), self._last
            if not size & 1:
                if len(new) > len(last):
                    raise BadInput(f"an event id has {len(new)} new bytes of {len(last)}; expected no more than all")
                new = last[: len(last) - len(new)] + new
            self._last = ids[row] = new
        return ids


def _unpacked(reader: Reader, datatype: str, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    if datatype == "BYTES":
        if reader.left < count:
            raise BadInput(f"the frame has {reader.left} bytes left; expected {count} elements")
        items = np.empty(count, np.object_)
        items[:] = [reader.take(reader.number(_MOST_ROW)) for _ in range(count)]
        return items.reshape(shape)
    if datatype == "BOOL":
        packed = np.frombuffer(reader.take((count + 7) // 8), np.uint8)
        return np.unpackbits(packed, count=count, bitorder="little").view(np.bool_).reshape(shape)
    kind = DATATYPES[datatype]
    return np.frombuffer(reader.take(count * kind.itemsize), kind).reshape(shape)
