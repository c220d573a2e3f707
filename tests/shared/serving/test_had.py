"""A tier that trusts keys takes no bundle that is older than one it has served; coming back is signed anew."""

import shutil
from pathlib import Path

import pytest

from ddnn.bundle import SIGNATURE_FILE, Bundle
from ddnn.errors import BadBundle
from ddnn.parts import files_of, tiers_of
from ddnn.serving.had import Had
from ddnn.settings import Settings
from ddnn.signing import TrustedKeys, make_key, read_key
from ddnn.types import Tier
from ddnn_lab.in_process import Fleet

ADMIN = "signs-bundles-as-well"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "operator.pem", make_key(tmp_path / "operator.pem")


def signed(bundle: Bundle, folder: Path, key: Path, version: int, name: str | None = None) -> Bundle:
    """A copy of a bundle, under another name if one is given, with a word as of a version."""
    path = Path(shutil.copytree(bundle.path, folder)) if not folder.exists() else folder
    if name:
        sealed = Bundle.seal(path, bundle.manifest.model_copy(update={"name": name}))
        bundle.policy.model_copy(update={"bundle": sealed.fingerprint}).write(path)
    Bundle.open(path).sign(read_key(key), version)
    return Bundle.open(path)


def settings(keys: tuple[Path, Path], state: Path) -> Settings:
    return Settings.load(trusted_keys=(keys[1],), state_dir=state)


def test_the_version_is_part_of_the_word(tiny_bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = signed(tiny_bundle, tmp_path / "one", keys[0], 3)
    trusted = TrustedKeys.read([keys[1]])
    assert Bundle.open(bundle.path, trusted).signature == bundle.signature
    word = bundle.signature
    assert word is not None
    with pytest.raises(Exception, match="or it signed another"):
        trusted.demand("bundle", bundle.fingerprint, word.model_copy(update={"version": 4}))
    with pytest.raises(Exception, match="or it signed another"):
        trusted.demand("bundle", bundle.fingerprint, word.model_copy(update={"version": 0}))


def test_what_is_older_than_what_was_served_is_refused_until_it_is_signed_again(
    tiny_bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    old = signed(tiny_bundle, tmp_path / "old", keys[0], 0)  # as of before versions
    new = signed(tiny_bundle, tmp_path / "new", keys[0], 7, "new")
    had = Had(settings(keys, tmp_path / "state"), Tier.EDGE)
    for bundle in (old, new, new):
        had.check(bundle)
        had.note(bundle)
    for version in (1, 6, 7):
        again = signed(tiny_bundle, tmp_path / "old", keys[0], version)
        with pytest.raises(BadBundle, match="of version 7, was served here; to come back, sign it again"):
            Had(settings(keys, tmp_path / "state"), Tier.EDGE).check(again)
    had.check(signed(tiny_bundle, tmp_path / "old", keys[0], 8))
    Had(settings(keys, tmp_path / "state"), Tier.DEVICE).check(old)  # another tier of the same machine
    Had(Settings.load(state_dir=tmp_path / "state"), Tier.EDGE).check(old)  # without keys there is no order
    (tmp_path / "state" / "bundle-edge-0.json").write_text("{")
    had.check(old)  # whoever writes there can make a tier forget, as the page of threats says


async def test_a_tier_neither_starts_with_an_older_bundle_nor_is_one_rolled_out(
    tiny_bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    old = signed(tiny_bundle, tmp_path / "old", keys[0], 5, "old")
    new = signed(tiny_bundle, tmp_path / "new", keys[0], 6)
    given = {"trusted_keys": (keys[1],), "admin_token": ADMIN, "state_dir": tmp_path / "state"}
    fleet = Fleet(new, settings=given, devices=[0])
    fleet.start()
    with pytest.raises(BadBundle, match=r"signed as of version 5, and .* of version 6, was served here"):
        Fleet(old, settings=given, devices=[0]).start()
    names = [name for tier in tiers_of(old.topology) for name in files_of(old.topology, *tier, old.manifest.files)]
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with fleet.client("cloud") as cloud:
        for name in dict.fromkeys(("manifest.json", SIGNATURE_FILE, "policy.json", *names)):
            content = (old.path / name).read_bytes()
            put = await cloud.put(f"/v2/rollout/bundles/{old.fingerprint}/{name}", content=content, headers=headers)
            assert put.status_code == 200, put.text
        asked = {"bundle": old.fingerprint, "share": 1.0, "events": 0}
        refused = await cloud.post("/v2/rollout", json=asked, headers=headers)
        assert (refused.status_code, "sign it again" in refused.text) == (400, True)
        again = signed(tiny_bundle, old.path, keys[0], 7).path / SIGNATURE_FILE
        path = f"/v2/rollout/bundles/{old.fingerprint}/{SIGNATURE_FILE}"
        assert (await cloud.put(path, content=again.read_bytes(), headers=headers)).status_code == 200
        begun = await cloud.post("/v2/rollout", json=asked, headers=headers)
        assert begun.json()["stage"] == "spreading"
    await fleet.close()
