"""One tensor on the wire: its datatype, its JSON entry, and its data as JSON numbers or as raw bytes after the header.

Nothing is allocated for a tensor before its declared sizes were compared with the bytes that are really there.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple, Self

import numpy as np

from ddnn.errors import BadInput, TooLarge
from ddnn.types import Array

__all__ = ["DATATYPES", "HARMLESS", "MAX_TENSORS", "Announced", "Entry", "Limits"]
__all__ += [
    "announced_tensors",
    "check_finite",
    "datatype_of",
    "finite",
    "read_tensors",
    "shown",
    "whole",
    "write_tensor",
]

DATATYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
"""BYTES tensors are object arrays of `bytes`."""

_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(array: Array) -> str:
    """Return the protocol's name for the type of `array`; text and byte strings of any length are BYTES."""
    if array.dtype.kind in "SU":
        return "BYTES"
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise BadInput(f"an array of numpy type {array.dtype} has no datatype in the protocol")
    return name


def shown(value: object, limit: int = 60) -> str:
    """Show a value a stranger sent, cut to `limit` characters so that a sentence stays a sentence."""
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object of {len(value)} keys"
    text = repr(value[:limit]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= limit + 10 else f"{text[:limit]}…"


def whole(value: Any) -> Any:
    """A float that is a whole number as an integer: as such some clients write every number. Others as they are."""
    return int(value) if type(value) is float and value.is_integer() else value


Entry = dict[str, Any]

MAX_TENSORS: Final = 64  #: most tensors in one request or response

_MAX_DIMS: Final = 32
_MAX_ELEMENTS: Final = 2**31
_LENGTH: Final = struct.Struct("<I")
_JSON_TYPES: Final[dict[str, tuple[frozenset[type], str]]] = {
    "b": (frozenset({bool}), "true or false, or 1 and 0"),
    "u": (frozenset({int}), "integers"),
    "i": (frozenset({int}), "integers"),
    "f": (frozenset({int, float, type(None)}), "numbers, null for one that is missing"),
    "O": (frozenset({str}), "strings"),
}


class Announced(NamedTuple):
    """A tensor as the header has it; everything that can be said without the bytes behind the header is right."""

    name: str
    where: str  #: how a sentence calls it
    datatype: str
    shape: tuple[int, ...]
    size: int | None  #: of its raw bytes; None where the header has the data itself
    data: object


def announced_tensors(entries: object, role: str) -> list[Announced]:
    """Read what `entries` (the header's `inputs` or `outputs`, by `role`) say of the tensors."""
    if not isinstance(entries, list):
        raise BadInput(f"`{role}s` is {shown(entries)}; expected a list of tensors")
    if len(entries) > MAX_TENSORS:
        raise BadInput(f"`{role}s` has {len(entries)} entries; expected at most {MAX_TENSORS}")
    tensors: dict[str, Announced] = {}
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadInput(
                f"`{role}s` entry {place} is {shown(entry)}; expected an object with name, datatype and shape"
            )
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise BadInput(f"`{role}s` entry {place} has the name {shown(name)}; expected a string")
        where = f"{role} tensor {shown(name)}"
        if name in tensors:
            raise BadInput(f"{where} is there twice; expected one of each name")
        datatype, shape = _datatype(entry, where), _shape(entry, where)
        tensors[name] = Announced(name, where, datatype, shape, _binary_size(entry, where), entry.get("data"))
    return list(tensors.values())


def read_tensors(announced: Iterable[Announced], raw: memoryview) -> dict[str, Array]:
    """Read the tensors; `raw` follows the header. Arrays over it are read-only views where their alignment allows."""
    tensors: dict[str, Array] = {}
    offset = 0
    for name, where, datatype, shape, size, data in announced:
        if size is None:
            tensors[name] = _from_json(data, datatype, shape, where)
            continue
        if size > len(raw) - offset:
            raise BadInput(f"{where} says {size} bytes of binary data; {len(raw) - offset} are left in the body")
        tensors[name] = _from_bytes(raw[offset : offset + size], datatype, shape, where)
        offset += size
    if offset != len(raw):
        raise BadInput(f"the body has {len(raw) - offset} bytes after its last tensor; expected none")
    return tensors


def write_tensor(name: str, array: Array, binary: bool) -> tuple[Entry, bytes]:
    """Return the JSON entry of a tensor and its raw bytes, empty when the data is in the entry."""
    datatype = _NAMES.get(array.dtype) or datatype_of(array)
    entry: Entry = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    if datatype == "BYTES":
        items = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]
        raw = b"".join(chain.from_iterable((_LENGTH.pack(len(item)), item) for item in items)) if binary else b""
        entry |= {} if binary else {"data": _texts(items, name)}
    else:
        raw = array.astype(DATATYPES[datatype], copy=False).tobytes() if binary else b""
        # As an array, a float32 is written with its own few digits and not with a float64's seventeen.
        native = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        entry |= {} if binary else {"data": native.ravel()}
    if binary:
        entry["parameters"] = {"binary_data_size": len(raw)}
    return entry, raw


def finite(array: Array) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    return array.dtype.kind != "f" or bool(np.logical_and.reduce(np.isfinite(array), axis=None))


def check_finite(array: Array, where: str) -> None:
    """Raise `BadInput` if a floating-point tensor holds NaN or infinity."""
    if not finite(array):
        bad = int(np.flatnonzero(~np.isfinite(array.ravel()))[0])
        raise BadInput(f"{where} holds {array.ravel()[bad]} at element {bad}; expected finite numbers")


def _datatype(entry: Entry, where: str) -> str:
    datatype = entry.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadInput(f"{where} has the datatype {shown(datatype)}; expected one of {', '.join(DATATYPES)}")
    return datatype


def _shape(entry: Entry, where: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > _MAX_DIMS:
        raise BadInput(f"{where} has the shape {shown(shape)}; expected a list of at most {_MAX_DIMS} integers")
    shape = [whole(size) for size in shape]
    for size in shape:
        if type(size) is not int or size < 0:
            raise BadInput(f"{where} has {shown(size)} in its shape; expected integers, none negative")
    # Zeros count as one here: numpy refuses strides that overflow even where there is no element.
    if math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise BadInput(f"{where} has a shape of more than {_MAX_ELEMENTS} elements")
    return tuple(shape)


def _binary_size(entry: Entry, where: str) -> int | None:
    parameters = entry.get("parameters")
    if not isinstance(parameters, dict | None):
        raise BadInput(f"{where} has the parameters {shown(parameters)}; expected an object")
    size = whole((parameters or {}).get("binary_data_size"))
    if size is None:
        if entry.get("data") is None:
            raise BadInput(f"{where} has neither `data` nor `parameters.binary_data_size`; expected one of them")
        return None
    if type(size) is not int or size < 0:
        raise BadInput(f"{where} has the binary_data_size {shown(size)}; expected an integer, not negative")
    if entry.get("data") is not None:
        raise BadInput(f"{where} has both `data` and `parameters.binary_data_size`; expected one of them")
    return size


def _from_bytes(raw: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    dtype, count = DATATYPES[datatype], math.prod(shape)
    if datatype == "BYTES":
        return _byte_strings(raw, shape, where)
    if len(raw) != count * dtype.itemsize:
        raise BadInput(
            f"{where} is {datatype} {list(shape)}, {count * dtype.itemsize} bytes; its binary_data_size is {len(raw)}"
        )
    if datatype == "BOOL" and bytes(raw).translate(None, b"\0\1"):
        raise BadInput(f"{where} is BOOL and holds a byte other than 0 and 1")
    array = np.frombuffer(raw, dtype).reshape(shape)
    # A section must be able to read it in place; tensors behind a header of odd length are not aligned.
    return array if array.flags.aligned else array.copy()


def _byte_strings(raw: memoryview, shape: tuple[int, ...], where: str) -> Array:
    count = math.prod(shape)
    if len(raw) < count * _LENGTH.size:
        raise BadInput(
            f"{where} has {count} elements, each with a length of 4 bytes; its binary_data_size is {len(raw)}"
        )
    items: Array = np.empty(count, dtype=np.object_)
    at = 0
    for index in range(count):
        start = at + _LENGTH.size
        if start > len(raw):
            raise BadInput(f"{where} ends within the length of element {index}")
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise BadInput(
                f"{where} element {index} says {at - start} bytes; {len(raw) - start} are left in the tensor"
            )
        items[index] = bytes(raw[start:at])
    if at != len(raw):
        raise BadInput(f"{where} has {len(raw) - at} bytes after its {count} elements; expected none")
    return items.reshape(shape)


def _from_json(data: object, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    dtype, flat = DATATYPES[datatype], _flat(data, shape, where)
    types, expected = _JSON_TYPES[dtype.kind]
    if dtype.kind in "biu" and not types.issuperset(map(type, flat)):
        flat = [whole(item) for item in flat]
        if dtype.kind == "b":
            flat = [bool(item) if type(item) is int and item in (0, 1) else item for item in flat]
    if not types.issuperset(map(type, flat)):
        other = next(item for item in flat if type(item) not in types)
        raise BadInput(f"{where} is {datatype} and its data holds {shown(other)}; expected {expected}")
    if datatype == "BYTES":
        array: Array = np.empty(len(flat), np.object_)
        array[:] = [item.encode() for item in flat]
        return array.reshape(shape)
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, dtype=dtype)
    except OverflowError as error:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        raise BadInput(f"{where} is {datatype} and its data leaves the range {low} to {high}") from error
    if dtype.kind == "f" and np.isinf(array).any():
        raise BadInput(f"{where} is {datatype} and its data leaves the range of that type")
    return array.reshape(shape)


def _flat(data: object, shape: tuple[int, ...], where: str) -> list[Any]:
    if not isinstance(data, list):
        raise BadInput(f"{where} has the data {shown(data)}; expected a list")
    if data and isinstance(data[0], list):
        level = [data]
        for depth, size in enumerate(shape):
            if any(type(part) is not list or len(part) != size for part in level):
                raise BadInput(f"{where} has nested data that is not {list(shape)} at depth {depth}")
            level = list(chain.from_iterable(level))
        data = level
    if len(data) != math.prod(shape):
        raise BadInput(f"{where} has {len(data)} elements of data; its shape {list(shape)} has {math.prod(shape)}")
    return data


def _texts(items: Sequence[bytes], name: str) -> list[str]:
    try:
        return [item.decode() for item in items]
    except UnicodeDecodeError as error:
        raise BadInput(
            f"tensor {shown(name)} holds bytes that are no text; JSON cannot carry them, binary can"
        ) from error


HARMLESS: Final = 64 << 10  #: JSON up to this many bytes is harmless whatever it holds
_SMALL_VALUES: Final = HARMLESS // 8
_TEXT: Final = 256  #: bytes of an element of a BYTES tensor


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request."""

    json_bytes: int  #: most bytes of JSON
    json_values: int  #: most values in it, lists and objects included: each becomes an object many times its length
    body_bytes: int  #: most bytes of JSON and raw tensors together

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Sequence[int]]], *, rows: int, cap: int, files: bool = False) -> Self:
        """Room for `rows` rows of `tensors`, each a datatype and a shape, in either form, within `cap` bytes.

        `files`: some are as large as `cap` allows, each one value.
        """
        sizes = [_row(datatype, shape) for datatype, shape in tensors]
        characters, values, raw = (sum(size) for size in zip(*sizes, strict=True))
        as_json = min(rows, max(1, cap // characters))
        json_bytes = cap if files else min(cap, HARMLESS + rows * characters)
        return cls(json_bytes, _SMALL_VALUES + as_json * values, min(cap, json_bytes + rows * raw))

    def check_json(self, text: memoryview) -> None:
        """Raise `TooLarge` for JSON that must not be parsed."""
        if len(text) > self.json_bytes:
            raise TooLarge(f"the body has {len(text)} bytes of JSON; expected at most {self.json_bytes}")
        if len(text) <= HARMLESS:
            return
        # Every value is the first in its brackets or follows a comma.
        values = sum(text.tobytes().count(mark) for mark in (b",", b"[", b"{"))
        if values > self.json_values:
            raise TooLarge(f"the body's JSON has about {values} values; expected at most {self.json_values}")


def _row(datatype: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Characters and values of one row as nested lists, and its bytes as a raw tensor."""
    elements = math.prod(shape[1:])
    lists = sum(math.prod(shape[1:end]) for end in range(1, len(shape)))
    if datatype == "BYTES":
        # Escapes may triple a text, and there may be commas and brackets in it.
        return elements * (3 * _TEXT + 4), elements * 8 + lists, elements * (_TEXT + 4)
    size = DATATYPES[datatype].itemsize
    return elements * (8 if size == 1 else 28), elements + lists, elements * size
