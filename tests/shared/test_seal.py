"""Sealed JSON proves itself, and a file is written whole or not at all."""

import json
from pathlib import Path

import pytest

from ddnn.errors import BadBundle
from ddnn.seal import fingerprint, read_sealed, write_atomically, write_sealed

DOCUMENT = {"name": "é", "share": 1e-05, "list": [1, 2.5, None, True], "nested": {"b": "\u0001", "a": 0}}


def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "document.json"
    write_sealed(path, DOCUMENT, "seal")
    return path


def test_what_was_sealed_reads_back(tmp_path: Path) -> None:
    path = sealed(tmp_path)
    assert read_sealed(path, "seal") == {**DOCUMENT, "seal": fingerprint(DOCUMENT, "seal")}


def test_the_fingerprint_leaves_itself_out_and_knows_no_order() -> None:
    seal = fingerprint(DOCUMENT, "seal")
    assert fingerprint(dict(reversed(DOCUMENT.items())) | {"seal": "any"}, "seal") == seal
    assert fingerprint(DOCUMENT | {"share": 2e-05}, "seal") != seal


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_one_flipped_bit_or_byte_anywhere_is_refused_by_name(tmp_path: Path, mask: int) -> None:
    path = sealed(tmp_path)
    text = path.read_bytes()
    for at in range(len(text)):
        path.write_bytes(text[:at] + bytes([text[at] ^ mask]) + text[at + 1 :])
        with pytest.raises(BadBundle, match=r"^document\.json: "):
            read_sealed(path, "seal")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"share": 1e999}',
        '{"share": NaN}',
        '{"name": "\\ud800"}',
        "[" * 100_000,
        " {}",
        "{}\n\n",
    ],
    ids=["empty", "null", "list", "no-seal", "infinite", "nan", "surrogate", "deep", "indented", "longer"],
)
def test_what_nobody_sealed_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "document.json"
    path.write_text(text)
    with pytest.raises(BadBundle, match=r"^document\.json: "):
        read_sealed(path, "seal")


def test_the_same_content_in_another_layout_is_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(BadBundle, match="was changed"):
        read_sealed(path, "seal")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match=r"^document\.json: cannot be read"):
        read_sealed(tmp_path / "document.json", "seal")


def test_a_number_that_is_no_json_is_not_sealed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_sealed(tmp_path / "document.json", {"share": float("nan")}, "seal")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, lambda part: part.write_bytes(b"old"))

    def fail(part: Path) -> None:
        part.write_bytes(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
    assert path.read_bytes() == b"old"


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(part: Path) -> None:
        part.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file.bin", interrupt)
    assert not list(tmp_path.iterdir())


def test_the_part_keeps_the_ending_that_writers_go_by(tmp_path: Path) -> None:
    names: list[str] = []
    write_atomically(tmp_path / "a.npz", lambda part: names.append(part.name))
    assert names[0].startswith(".a.npz.")
    assert names[0].endswith(".npz")
