"""The bundle on disk: every byte of it counts."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import GOLDEN_FILE, MANIFEST_FILE, WEIGHTS_FILE, Bundle, named, shipped_bundle
from ddnn.errors import BadBundle
from ddnn.policy import POLICY_FILE, Policy
from ddnn.seal import fingerprint, read_sealed, write_sealed
from ddnn.topology import Features, View
from ddnn.types import Exit, Tier
from format_1 import write_as_format_1


def open_and_verify(path: Path) -> Bundle:
    bundle = Bundle.open(path)
    bundle.verify()
    return bundle


def damage(file: Path, at: int) -> bytes:
    """Flip one byte; return what it was before."""
    content = file.read_bytes()
    file.write_bytes(content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :])
    return content


def test_one_flipped_byte_in_any_file_is_refused_by_name(copied_bundle: Path) -> None:
    files = sorted(copied_bundle.iterdir())
    assert {MANIFEST_FILE, POLICY_FILE, GOLDEN_FILE, WEIGHTS_FILE} < {file.name for file in files}
    for file in files:
        size = file.stat().st_size
        for at in (0, 7, size // 3, size // 2, size - 2, size - 1):
            before = damage(file, at)
            with pytest.raises(BadBundle, match=f"^{file.name}: "):
                open_and_verify(copied_bundle)
            file.write_bytes(before)
    open_and_verify(copied_bundle)


@pytest.mark.parametrize("name", [MANIFEST_FILE, POLICY_FILE])
def test_white_space_in_a_json_file_counts(copied_bundle: Path, name: str) -> None:
    file = copied_bundle / name
    text = file.read_bytes()
    places = [at for at, byte in enumerate(text) if byte in b" \n"]
    for at in places[:: len(places) // 10]:
        file.write_bytes(text[:at] + b"\t" + text[at + 1 :])
        with pytest.raises(BadBundle, match=f"^{name}: "):
            Bundle.open(copied_bundle)
    file.write_bytes(text + b" ")
    with pytest.raises(BadBundle, match=f"^{name}: "):
        Bundle.open(copied_bundle)


@pytest.mark.parametrize("change", [lambda content: content + b"\0", lambda content: content[:-1], lambda _: b""])
def test_a_longer_a_shorter_and_an_empty_section_are_refused(copied_bundle: Path, change: Any) -> None:
    file = copied_bundle / "cloud.onnx"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BadBundle, match=r"^cloud\.onnx: does not match"):
        open_and_verify(copied_bundle)


def test_a_tier_checks_the_sections_it_runs(copied_bundle: Path) -> None:
    damage(copied_bundle / "edge.onnx", 100)
    bundle = Bundle.open(copied_bundle)
    assert set(bundle.sections(Tier.DEVICE, 5)) == {"section"}
    with pytest.raises(BadBundle, match=r"^edge\.onnx: "):
        bundle.sections(Tier.EDGE)


@pytest.mark.parametrize("name", ["cloud.onnx", GOLDEN_FILE, WEIGHTS_FILE, MANIFEST_FILE, POLICY_FILE])
def test_a_missing_file_is_refused_by_name(copied_bundle: Path, name: str) -> None:
    (copied_bundle / name).unlink()
    with pytest.raises(BadBundle, match=f"^{name}: (is missing|cannot be read)"):
        open_and_verify(copied_bundle)


def test_a_file_nobody_listed_is_refused_when_asked_for(tiny_bundle: Bundle) -> None:
    with pytest.raises(BadBundle, match=r"^other\.onnx: is not listed in manifest\.json"):
        tiny_bundle.checked("other.onnx")


@pytest.mark.parametrize("where", ["nothing", "file"])
def test_what_is_no_folder_is_no_bundle(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadBundle, match="is not a folder; expected a bundle made by `ddnn train`"):
        Bundle.open(tmp_path / where)


def test_the_policy_of_another_bundle_is_refused(copied_bundle: Path) -> None:
    Policy(bundle="0" * 64).write(copied_bundle)
    with pytest.raises(BadBundle, match=r"^policy\.json: is for bundle 000000000000, this one is "):
        Bundle.open(copied_bundle)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"colour": "red"}, "colour"),
        ({"format": 3}, "format"),
        ({"classes": ["only"]}, "classes"),
        ({"name": 3}, "name"),
        ({"task": "regression"}, "task"),
    ],
)
def test_an_unknown_key_or_impossible_value_in_the_manifest_is_named(
    copied_bundle: Path, change: dict[str, Any], where: str
) -> None:
    document = read_sealed(copied_bundle / MANIFEST_FILE, "fingerprint")
    write_sealed(copied_bundle / MANIFEST_FILE, document | change, "fingerprint")
    with pytest.raises(BadBundle, match=rf"^manifest\.json: {where} is "):
        Bundle.open(copied_bundle)


def test_the_fingerprint_covers_every_key_of_the_manifest(tiny_bundle: Bundle) -> None:
    document = tiny_bundle.manifest.model_dump(mode="json")
    assert fingerprint(document, "fingerprint") == tiny_bundle.fingerprint
    for key in document.keys() - {"fingerprint"}:
        assert fingerprint(document | {key: "other"}, "fingerprint") != tiny_bundle.fingerprint


def test_a_bundle_of_format_1_is_read_under_its_own_fingerprint(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))
    write_as_format_1(copy)
    document, bundle = read_sealed(copy / MANIFEST_FILE, "fingerprint"), open_and_verify(copy)
    assert (document["format"], bundle.manifest.format, bundle.fingerprint) == (1, 1, document["fingerprint"])
    assert (bundle.manifest.task, len(bundle.topology.sections)) == ("classification", 6 + 1 + 1 + 1)
    again = sealed_again(copy)
    assert (again.manifest.format, again.topology) == (2, bundle.topology)
    assert again.fingerprint != bundle.fingerprint
    assert "sections" in read_sealed(copy / MANIFEST_FILE, "fingerprint")["topology"]


@pytest.mark.parametrize(
    ("change", "where"),
    [({"device_cut": {"shape": "wide"}}, "topology"), ({"edges": None}, "topology"), ({"devices": [{}]}, "topology")],
)
def test_a_topology_of_format_1_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    copy = Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))
    write_as_format_1(copy, **change)
    with pytest.raises(BadBundle, match=rf"^manifest\.json: {where}"):
        Bundle.open(copy)


def test_sealing_the_same_files_again_gives_the_same_fingerprint(copied_bundle: Path) -> None:
    bundle = Bundle.open(copied_bundle)
    assert Bundle.seal(copied_bundle, bundle.manifest).fingerprint == bundle.fingerprint
    assert open_and_verify(copied_bundle).fingerprint == bundle.fingerprint


@pytest.mark.parametrize("name", ["y", "present", "view_5", "device_ties", "edge_features", "cloud_scores"])
def test_golden_events_without_an_array_are_refused_by_its_name(copied_bundle: Path, name: str) -> None:
    arrays: dict[str, Any] = {key: array for key, array in Bundle.open(copied_bundle).golden.items() if key != name}
    np.savez(copied_bundle / GOLDEN_FILE, **arrays)
    with pytest.raises(BadBundle, match=rf"^golden\.npz: has no array '{name}'"):
        _ = sealed_again(copied_bundle).golden


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 cut short", b"no archive", b"\x80\x04pickle"])
def test_golden_events_that_are_no_archive_are_refused(copied_bundle: Path, content: bytes) -> None:
    (copied_bundle / GOLDEN_FILE).write_bytes(content)
    with pytest.raises(BadBundle, match=r"^golden\.npz: is not a NumPy archive"):
        _ = sealed_again(copied_bundle).golden


def test_golden_events_are_no_single_array_and_hold_no_pickles(copied_bundle: Path) -> None:
    arrays: dict[str, Any] = {**Bundle.open(copied_bundle).golden, "y": np.array([{}, []], np.object_)}
    np.savez(copied_bundle / GOLDEN_FILE, **arrays)
    with pytest.raises(BadBundle, match=r"^golden\.npz: is not a NumPy archive of plain arrays"):
        _ = sealed_again(copied_bundle).golden
    with (copied_bundle / GOLDEN_FILE).open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(BadBundle, match=r"^golden\.npz: is not a NumPy archive of plain arrays"):
        _ = sealed_again(copied_bundle).golden


def sealed_again(path: Path) -> Bundle:
    manifest = Bundle.seal(path, Bundle.open(path).manifest)
    Policy(bundle=manifest.fingerprint).write(path)
    return Bundle.open(path)


def test_sections_per_tier_are_those_of_the_topology(tiny_bundle: Bundle) -> None:
    files = {
        (tier, index): {role: file.name for role, file in tiny_bundle.sections(tier, index).items()}
        for tier, index in [(Tier.DEVICE, 0), (Tier.DEVICE, 5), (Tier.EDGE, 0), (Tier.CLOUD, 0)]
    }
    assert files[Tier.DEVICE, 0] == {"section": "device-0.onnx"}
    assert files[Tier.DEVICE, 5] == {"section": "device-5.onnx"}
    assert files[Tier.EDGE, 0] == {"local": "local.onnx", "section": "edge.onnx"}
    assert files[Tier.CLOUD, 0] == {"section": "cloud.onnx"}
    assert [tiny_bundle.topology.edge_of(n) for n in range(6)] == [0] * 6
    assert tiny_bundle.topology.exits == tuple(Exit)


def test_sizes_of_views_and_cuts() -> None:
    assert View(shape=(3, 32, 32), dtype="UINT8").bytes == 3072
    assert View(shape=(6, 60), dtype="FP32").bytes == 1440
    assert (Features(shape=(4, 3, 3)).values, Features(shape=(4, 3, 3)).bytes) == (36, 5)
    assert Features(shape=(4, 3, 3), codec="bits4").bytes == 18


def test_the_shipped_bundle_verifies_is_small_and_says_how_it_was_made() -> None:
    bundle = open_and_verify(shipped_bundle())
    training = bundle.manifest.training
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) <= 2 << 20
    assert training.command.startswith("ddnn train mnist5k --grid 3x2")
    assert training.config
    assert len(training.data["fingerprint"]) == 64
    assert training.data["name"] == "mnist5k"
    assert 64 <= len(bundle.golden["y"]) <= 256
    assert np.unique(bundle.golden["y"]).tolist() == list(range(10))


def test_a_shipped_bundle_is_had_by_name_where_no_folder_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("mnist5k")
    assert named(name) == shipped_bundle()
    assert [named(path) for path in (Path("nothing"), Path("../shipped/mnist5k"))] == [
        Path("nothing"),
        Path("../shipped/mnist5k"),
    ]
    name.mkdir()
    assert named(name) == name
