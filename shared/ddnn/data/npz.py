"""A `.npz` file of plain arrays, no pickles."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ddnn.errors import BadData
from ddnn.types import Array

__all__ = ["Archive"]


class Archive(Mapping[str, Array]):
    """Arrays of a file by name, each read when asked for; raises `BadData` for what cannot be read."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        try:
            file = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise BadData(f"{path} cannot be read as .npz ({error}); expected a file made by numpy.savez") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise BadData(f"{path} holds one bare array; expected a .npz file with named arrays")
        self.path, self._file = path, file

    def __getitem__(self, name: str) -> Array:
        try:
            return np.asarray(self._file[name])
        except KeyError:
            raise
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BadData(f"{name} cannot be read ({error}); expected a plain array, no pickled objects") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)
