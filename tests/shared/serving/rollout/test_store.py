"""What comes of a bundle while a tier runs is checked file by file before it is kept."""

from pathlib import Path

import pytest

from ddnn.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle
from ddnn.errors import BadBundle, BadInput, NotFound
from ddnn.parts import tiers_of
from ddnn.policy import POLICY_FILE
from ddnn.serving.rollout.store import Store
from ddnn.signing import TrustedKeys, make_key, read_key
from ddnn.types import Tier

DEVICE = [(Tier.DEVICE, 2)]


def give(store: Store, bundle: Bundle, *names: str) -> None:
    for name in names:
        store.put(bundle.fingerprint, name, (bundle.path / name).read_bytes())


def test_a_tier_misses_the_manifest_then_its_own_files_and_has_a_bundle_in_the_end(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    store, name = Store(tmp_path / "bundles"), tiny_bundle.fingerprint
    assert store.missing(name, DEVICE) == [MANIFEST_FILE]
    give(store, tiny_bundle, MANIFEST_FILE)
    wanted = [POLICY_FILE, "device-2.onnx", "golden-device-2.npz"]
    assert store.missing(name, DEVICE) == wanted
    give(store, tiny_bundle, *wanted)
    assert store.missing(name, DEVICE) == []
    assert "edge.onnx" in store.missing(name, tiers_of(tiny_bundle.topology))
    assert store.open(name, None).fingerprint == name
    assert store.get(name, "device-2.onnx") == (tiny_bundle.path / "device-2.onnx").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("device-0.onnx", b"another", "does not match the SHA-256"),
        ("device-0.onnx", b"x" * (1 << 20), "expected at most"),
        ("../device-0.onnx", b"x", "is no file of the bundle"),
        ("other.bin", b"x", "is no file of the bundle"),
    ],
)
def test_what_the_manifest_does_not_have_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    store = Store(tmp_path / "bundles")
    give(store, tiny_bundle, MANIFEST_FILE)
    with pytest.raises(BadInput, match=says):
        store.put(tiny_bundle.fingerprint, name, content)
    with pytest.raises((NotFound, BadInput)):
        store.get(tiny_bundle.fingerprint, name)
    assert [file.name for file in (tmp_path / "bundles" / tiny_bundle.fingerprint).iterdir()] == [MANIFEST_FILE]


def test_a_manifest_comes_first_and_is_that_of_its_name(tiny_bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "bundles")
    with pytest.raises(BadInput, match=r"has no manifest\.json here yet"):
        give(store, tiny_bundle, "device-0.onnx")
    with pytest.raises(BadBundle, match="expected 000000000000"):
        store.put("0" * 64, MANIFEST_FILE, (tiny_bundle.path / MANIFEST_FILE).read_bytes())
    with pytest.raises(BadInput, match="expected its fingerprint"):
        store.path("../../etc")
    assert not [*(tmp_path / "bundles").iterdir()]


def test_without_a_word_that_is_trusted_a_bundle_is_not_opened(copied_bundle: Path, tmp_path: Path) -> None:
    trusted = TrustedKeys.read([make_key(tmp_path / "mine.pem")])
    store, bundle = Store(tmp_path / "bundles"), Bundle.open(copied_bundle)
    give(store, bundle, MANIFEST_FILE, POLICY_FILE)
    with pytest.raises(BadBundle, match="is not signed"):
        store.open(bundle.fingerprint, trusted)
    bundle.sign(read_key(tmp_path / "mine.pem"))
    give(store, bundle, SIGNATURE_FILE, POLICY_FILE)
    assert store.open(bundle.fingerprint, trusted)


def test_others_are_forgotten(tiny_bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "bundles")
    give(store, tiny_bundle, MANIFEST_FILE)
    store.keep({tiny_bundle.fingerprint, None})
    assert store.missing(tiny_bundle.fingerprint, DEVICE) != [MANIFEST_FILE]
    store.keep({"0" * 64})
    assert store.missing(tiny_bundle.fingerprint, DEVICE) == [MANIFEST_FILE]
