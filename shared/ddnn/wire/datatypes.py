"""The datatypes of the Open Inference Protocol v2 and their numpy types, little-endian."""

from typing import Any, Final

import numpy as np

from ddnn.errors import BadInput
from ddnn.types import Array

__all__ = ["DATATYPES", "datatype_of", "shown"]

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
