"""The folder that a device in C is built from: its section, the frames of a stream, a check and an example."""

import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.codec import Bitwise
from ddnn.embedded.section import CSection, translated
from ddnn.embedded.values import Kind, literal
from ddnn.errors import BadInput
from ddnn.golden import TIES
from ddnn.pages import render
from ddnn.runtime import Section
from ddnn.types import Array, Tier

__all__ = ["FILES", "write_device"]

FILES: Final = ("ddnn_section.h", "ddnn_section.c", "ddnn_stream.h", "ddnn_stream.c")
"""What a device is made of; beside them lie `ddnn_golden.h`, `check.c`, `join.c` and a Makefile."""
_COPIED: Final = ("ddnn_stream.h", "ddnn_stream.c", "check.c", "join.c", "Makefile")


def write_device(bundle: Bundle, device: int, out: Path, *, events: int = 8, force: bool = False) -> CSection:
    """Write a device of a bundle, or of its slice, into the folder `out`; raise `BadInput`, and write nothing then."""
    if bundle.part not in (None, (Tier.DEVICE, device)):
        assert bundle.part
        found = f"{bundle.path} is the slice of {bundle.part[0]}-{bundle.part[1]}"
        raise BadInput(f"{found}; expected a whole bundle, or the slice of device-{device}")
    if out.exists() and not force and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists; expected a new folder, or an empty one, or --force to write over its files")
    section = translated(bundle, device)
    texts = {"ddnn_section.h": section.header, "ddnn_section.c": section.source}
    texts["ddnn_golden.h"] = render("c/ddnn_golden.h", _golden(bundle, device, events))
    given = files("ddnn") / "templates" / "c" / "device"
    texts |= {name: (given / name).read_text(encoding="utf-8") for name in _COPIED}
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, text in texts.items():
            (staging / name).write_text(text, encoding="utf-8")
        out.mkdir(exist_ok=True)
        for name in texts:
            (staging / name).replace(out / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return section


def _golden(bundle: Bundle, device: int, events: int) -> dict[str, Any]:
    """Golden events that the device sees, as the header has them."""
    topology, golden = bundle.topology, bundle.golden
    features = topology.own_features(Tier.DEVICE, device)
    assert features
    rows = np.flatnonzero(golden["present"][:, device])[:events]
    if not len(rows):
        raise BadInput(f"device {device} sees none of the golden events; expected one that it does")
    views = golden[f"view_{device}"][rows]
    made = Section(bundle.sections(Tier.DEVICE, device)["section"], 1).run(view=views)
    bits = isinstance(features.coded, Bitwise)
    ties = TIES.unpack(golden["device_ties"][rows, device], features.shape)
    return {
        "device": device,
        "bundle": bundle.manifest.name,
        "events": len(rows),
        "views": _written(views),
        "scores": _written(made["scores"]),
        "bits": bits,
        "features": _written(features.pack(made["features"])) if bits else [],
        "ties": _written(TIES.pack(ties)),
    }


def _written(rows: Array) -> list[list[str]]:
    kind = Kind.FLOAT if rows.dtype.kind == "f" else Kind.BYTE
    return [[literal(number, kind) for number in row.ravel()] for row in rows]
