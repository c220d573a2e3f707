"""Files of arrays from anywhere: read, or refused with one sentence, in bounded time and memory."""

import io
import os
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ddnn import archive
from ddnn.archive import Archive
from ddnn.cli.app import app
from ddnn.data import load
from ddnn.errors import BadData
from ddnn.evaluation.recorded import Recorded
from ddnn.evaluation.source import holds
from ddnn.fleet.events import read_events

MOST = 64 << 20


def npy(header: bytes, elements: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """An array as numpy writes it, with any header."""
    size = len(header) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", size) + header + elements


def described(descr: str, shape: str, elements: bytes = b"") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode(), elements)


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("X.npy", content)
    return path


def patched(path: Path, *, local: int, central: int, value: bytes) -> Path:
    """The same file with other bytes in its one entry's local and central header."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        at = content.index(signature) + offset
        content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def encrypted(path: Path) -> Path:
    return patched(zipped(path, described("'|u1'", "(1,)", b"1")), local=6, central=8, value=b"\x01")


def of_method(method: int) -> Callable[[Path], Path]:
    value = struct.pack("<H", method)
    return lambda path: patched(
        zipped(path, described("'|u1'", "(1,)", b"1"), zipfile.ZIP_DEFLATED), local=8, central=10, value=value
    )


def bomb(path: Path) -> Path:
    """A few megabytes that unpack to three gigabytes, in eight arrays, each of its own below every other bound."""
    zeros = bytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for number in range(8):
            with file.open(f"X_{number}.npy" if number else "X.npy", "w", force_zip64=True) as entry:
                entry.write(described("'|u1'", f"({400 << 20},)"))
                for _ in range(400):
                    entry.write(zeros)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "a header of a gigabyte": lambda path: zipped(path, npy(b"{", version=(2, 0), length=1 << 30)),
    "a header of a megabyte that is there": lambda path: zipped(path, npy(b" " * (1 << 20), version=(2, 0))),
    "a bad token": lambda path: zipped(path, npy(b"{'descr': '|u1', 'shape': (1,'''")),
    "a header that nests": lambda path: zipped(path, npy(b"(" * 9000)),
    "a header of another kind": lambda path: zipped(path, npy(b"[1, 2]\n")),
    "a type that is none": lambda path: zipped(path, described("'>x9'", "(1,)")),
    "a type without size": lambda path: zipped(path, described("'<U0'", f"({2**40},)")),
    "a type of nested tuples": lambda path: zipped(path, described("[('a', [('b', 7)])]", "(1,)")),
    "a shape of a terabyte": lambda path: zipped(path, described("'<f8'", f"({2**37},)")),
    "a shape beyond all": lambda path: zipped(path, described("'<f8'", f"({2**62}, {2**62})")),
    "a negative shape": lambda path: zipped(path, described("'|u1'", "(-6,)", b"123456")),
    "elements that are missing": lambda path: zipped(path, described("'|u1'", "(6,)", b"12345")),
    "an unknown version": lambda path: zipped(path, npy(b"{}", version=(9, 9))),
    "pickled objects": lambda path: zipped(path, described("'|O'", "(1,)", b"\x80\x04K\x01.")),
    "nothing": lambda path: zipped(path, b""),
    "text": lambda path: zipped(path, b"hello"),
    "encrypted": encrypted,
    "an unknown method": of_method(77),
    "a method that numpy does not write": of_method(zipfile.ZIP_LZMA),
    "a bomb": bomb,
    "a pipe": pipe,
    "a folder": lambda path: path.mkdir() or path,  # type: ignore[func-returns-value]
    "no file": lambda path: path,
}


@pytest.fixture(scope="module", params=MAKERS)
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp("hostile") / "x.npz")


def whole(path: Path) -> Any:
    with Archive(path) as file:
        return dict(file)


@pytest.mark.parametrize(
    "reader",
    [whole, lambda path: load(str(path)), lambda path: read_events([path], [(6,)]), Recorded.load],
    ids=["archive", "data", "events", "recorded"],
)
def test_a_hostile_file_is_one_sentence_and_takes_no_memory(hostile: Path, reader: Callable[[Path], Any]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadData) as refused:
            reader(hostile)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert peak < MOST


def test_a_command_refuses_a_hostile_file_and_writes_nothing(hostile: Path, tmp_path: Path) -> None:
    for command in (["infer", str(hostile)], ["train", str(hostile), "--out", str(tmp_path / "out")]):
        refused = CliRunner().invoke(app, command)
        assert isinstance(refused.exception, BadData), refused.exception  # of which the process makes a sentence
        assert not [*tmp_path.iterdir()]


def test_whether_a_hostile_file_holds_an_array_is_no_error(hostile: Path) -> None:
    assert holds(hostile, "nothing of it") is False


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    # Opened, it would wait for a writer for ever; this one would be let through.
    path = pipe(tmp_path / "x.npz")
    with pytest.raises(BadData, match="it is no regular file"):
        Archive(path)


def test_what_packs_well_is_read_while_it_is_small_or_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = np.zeros((1000, 1000))
    np.savez_compressed(tmp_path / "packed.npz", X=zeros)
    np.savez(tmp_path / "plain.npz", X=zeros)
    assert (whole(tmp_path / "packed.npz")["X"] == zeros).all()
    monkeypatch.setattr(archive, "_HARMLESS", 1 << 20)
    assert (whole(tmp_path / "plain.npz")["X"] == zeros).all()
    with pytest.raises(BadData, match=r"unpacks to 80.....; expected at most 100 times its size"):
        Archive(tmp_path / "packed.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["a", "bcd", ""]),
        np.array([b"a", b""]),
        np.array(3.5),
        np.zeros((0, 4), np.float32),
        np.array([True, False]),
        np.array(["2026-01-01"], "M8[D]"),
        np.arange(3, dtype=">i2"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("mapped", [False, True])
def test_what_numpy_writes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None], array: Any, mapped: bool
) -> None:
    if mapped and array.size:
        monkeypatch.setattr(archive, "MAPPED", 1)
    save(tmp_path / "x.npz", X=array)
    with Archive(tmp_path / "x.npz") as file:
        read = file["X"]
        assert (list(file), len(file), "X" in file, "Y" in file, file.get("Y")) == (["X"], 1, True, False, None)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert (read == array).all()
    assert isinstance(read, np.memmap) == (mapped and bool(array.size))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, X=np.arange(50), y=np.array(["a", "b"]))
    changed = bytearray(content.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(changed)
        file.flush()
        with suppress(BadData):
            whole(Path(file.name))
