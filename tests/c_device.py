"""Devices in C, built as their users build them, and called from Python."""

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.embedded import write_device
from ddnn.runtime import Section
from ddnn.types import Array, Tier

__all__ = ["NEEDS_GCC", "SOURCES", "STRICT", "Device", "compiled"]

SOURCES = ("ddnn_section.c", "ddnn_stream.c")
NEEDS_GCC = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("make")), reason="not installed: Debian's gcc, libc6-dev and make"
)
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def compiled(folder: Path, out: str, *sources: str, flags: Sequence[str] = ("-O1",), cc: str = "gcc") -> Path:
    """One file of the sources, without a warning."""
    done = subprocess.run([cc, *STRICT, *flags, "-o", out, *sources, "-lm"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / out


@dataclass
class Device:
    """One device of a bundle, and the functions of its C."""

    bundle: Bundle
    index: int
    folder: Path
    library: ctypes.CDLL

    @classmethod
    def of(cls, bundle: Bundle, index: int, folder: Path) -> "Device":
        """Written into `folder`, and compiled."""
        write_device(bundle, index, folder)
        objects = [name.replace(".c", ".o") for name in SOURCES]
        for source, made in zip(SOURCES, objects, strict=True):
            compiled(folder, made, "-c", source, flags=("-O1", "-fPIC"))
        library = compiled(folder, "device.so", *objects, flags=("-shared",))
        return cls(bundle, index, folder, ctypes.CDLL(str(library)))

    @property
    def classes(self) -> int:
        return len(self.bundle.manifest.classes)

    def run(self, views: Array) -> tuple[Array, Array]:
        """Scores (N, K) and packed features (N, bytes)."""
        features = self.bundle.topology.own_features(Tier.DEVICE, self.index)
        assert features
        scores = np.empty((len(views), self.classes), np.float32)
        rows = np.empty((len(views), features.bytes), np.uint8)
        for n, view in enumerate(views):
            view = np.ascontiguousarray(view)
            self.library.ddnn_section(*(_at(array) for array in (view, scores[n], rows[n])))
        return scores, rows

    def packed_scores(self, scores: Array, size: int) -> Array:
        """Scores as they go up, (N, bytes)."""
        rows = np.empty((len(scores), size), np.uint8)
        for n, row in enumerate(np.ascontiguousarray(scores, np.float32)):
            self.library.ddnn_pack_scores(_at(row), _at(rows[n]))
        return rows

    def by_onnx_runtime(self, views: Array) -> tuple[Array, Array]:
        """The same from the section as it is served."""
        features = self.bundle.topology.own_features(Tier.DEVICE, self.index)
        assert features
        made = Section(self.bundle.sections(Tier.DEVICE, self.index)["section"], 1).run(view=views)
        packed = np.ascontiguousarray(features.pack(made["features"]))
        return made["scores"], packed.view(np.uint8).reshape(len(views), -1)


def _at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
