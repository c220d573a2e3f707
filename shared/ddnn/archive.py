"""A `.npz` file from anywhere: arrays by name, whose sizes are compared with what is there before memory is taken."""

import math
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, Self
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from ddnn.errors import BadData
from ddnn.types import Array

__all__ = ["Archive"]

MAPPED: Final = 2**28
"""Bytes from which an array stays in its file, read as it is used; a compressed one is unpacked to a temporary file."""
_HARMLESS: Final = 2**28  #: bytes that a file may unpack to, however small it is
_RATIO: Final = 100  #: times its own size to which it may unpack beyond that
_HEADER: Final = 10_000  #: bytes, as numpy allows
_BARE: Final = b"\x93NUMPY"  #: how an array begins that is no archive
_ENCRYPTED: Final = 1  #: of a zip entry's flags
_PLAIN: Final = "expected a plain array, no pickled objects"


class _Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]
    end: int  #: bytes before its elements


class Archive(Mapping[str, Array]):
    """Arrays of a file by name, each read when asked for; raises `BadData` for what cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
                raise BadZipFile("it is no regular file")
            self._zip = ZipFile(path)
        except Exception as error:  # a damaged directory raises what it happens to meet
            if path.is_file() and _begins(path) == _BARE:
                raise BadData(f"{path} holds one bare array; expected a .npz file with named arrays") from error
            raise BadData(
                f"{path} cannot be read as .npz ({_why(error)}); expected a file made by numpy.savez"
            ) from error
        self._entries = {
            entry.filename.removesuffix(".npy"): entry
            for entry in self._zip.infolist()
            if entry.filename.endswith(".npy")
        }
        unpacked, size = sum(entry.file_size for entry in self._entries.values()), path.stat().st_size
        if unpacked > max(_HARMLESS, _RATIO * size):
            self.close()
            raise BadData(
                f"{path} has {size} bytes and unpacks to {unpacked}; expected at most {_RATIO} times its size,"
                " or a file made by numpy.savez, which does not compress"
            )

    def close(self) -> None:
        """Close the file; arrays that were read, or mapped, stay."""
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Array:
        entry = self._entries[name]
        try:
            return self._read(entry)
        except Exception as error:  # of a header's text Python's own parser, of packed bytes each method's
            raise BadData(f"{name} cannot be read ({_why(error)}); {_PLAIN}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _read(self, entry: ZipInfo) -> Array:
        """The array in memory, or, where it is large, mapped from the file, or from a temporary one if compressed."""
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED) or entry.flag_bits & _ENCRYPTED:
            raise BadZipFile("it is encrypted, or packed by a method that numpy does not write")
        with self._zip.open(entry) as stream:
            header = _header(stream)
            shape, order, dtype, end = header
            size = math.prod(shape) * dtype.itemsize
            if size != entry.file_size - end:
                raise ValueError(f"{dtype} of shape {shape} is {size} bytes; {entry.file_size - end} are there")
            if entry.file_size < MAPPED:
                elements = bytearray(stream.read())
                return np.frombuffer(elements, dtype, math.prod(shape)).reshape(shape, order=order)
            if entry.compress_type != ZIP_STORED:
                with tempfile.TemporaryFile() as unpacked:  # its blocks live as long as the map
                    shutil.copyfileobj(stream, unpacked)
                    unpacked.flush()
                    return np.memmap(unpacked, dtype, "r", 0, shape, order)
        with self.path.open("rb") as file:
            file.seek(entry.header_offset + 26)  # a local header's lengths of name and extra field, its last parts
            ends = int(np.frombuffer(file.read(4), "<u2").sum())
        return np.memmap(self.path, dtype, "r", entry.header_offset + 30 + ends + end, shape, order)


def _begins(path: Path) -> bytes:
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_BARE))
    return b""


def _header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    first = version == (1, 0)
    length = stream.read(2 if first else 4)
    if int.from_bytes(length, "little") > _HEADER:
        raise ValueError(f"its header has {int.from_bytes(length, 'little')} bytes; expected at most {_HEADER}")
    text = BytesIO(length + stream.read(int.from_bytes(length, "little")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2 are read
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(text)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"its elements are {'Python objects' if dtype.hasobject else 'of no size'}")
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    return _Header(shape, "F" if fortran else "C", dtype, stream.tell())


def _why(error: Exception) -> str:
    """One line of an error that may have many, or none."""
    if isinstance(error, BadZipFile) and "not a zip file" in str(error):
        return "it is no zip archive"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
