"""Signatures: a tier that trusts keys takes their word alone, and no older policy."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadBundle, BadInput
from ddnn.policy import Policy, Thresholds
from ddnn.serving.control import PolicyControl, PolicyFile
from ddnn.signing import TrustedKeys, make_key, read_key, sign
from ddnn_lab.in_process import Fleet

ADMIN = "signs-policies-as-well"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "operator.pem", make_key(tmp_path / "operator.pem")


@pytest.fixture
def signed(tiny_bundle: Bundle, tmp_path: Path, keys: tuple[Path, Path]) -> Bundle:
    path = Path(shutil.copytree(tiny_bundle.path, tmp_path / "signed"))
    Bundle.open(path).sign(read_key(keys[0]))
    return Bundle.open(path)


def test_a_key_is_made_once_and_only_its_owner_reads_it(keys: tuple[Path, Path]) -> None:
    assert keys[0].stat().st_mode & 0o777 == 0o600
    assert keys[1].name == "operator.pub.pem"
    with pytest.raises(BadInput, match="exists; expected a new file"):
        make_key(keys[0])


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\0" * 64])
def test_what_is_no_key_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"key\.pem"):
        TrustedKeys.read([file])
    with pytest.raises(BadInput, match=r"key\.pem is no PEM key that is open"):
        read_key(file)
    with pytest.raises(BadInput, match="DDNN_SIGNING_KEY"):
        read_key(None)


def test_a_key_may_come_as_an_environment_secret(keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDNN_SIGNING_KEY", keys[0].read_text())
    signature = sign(read_key(None), "policy", "0" * 64)
    trusted = TrustedKeys.read([keys[1]])
    trusted.demand("policy", "0" * 64, signature)
    with pytest.raises(BadInput, match="or it signed another"):
        trusted.demand("bundle", "0" * 64, signature)
    with pytest.raises(BadInput, match="or it signed another"):
        trusted.demand("policy", "1" * 64, signature)


def test_a_bundle_is_opened_by_the_word_of_a_key_that_is_trusted(
    signed: Bundle, tiny_bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    trusted = TrustedKeys.read([keys[1]])
    assert Bundle.open(signed.path, trusted).fingerprint == tiny_bundle.fingerprint
    with pytest.raises(BadBundle, match="the bundle is not signed; expected the word of"):
        Bundle.open(tiny_bundle.path, trusted)
    with pytest.raises(BadBundle, match=r"the bundle is signed by .*; expected the word of"):
        Bundle.open(signed.path, TrustedKeys.read([make_key(tmp_path / "other.pem")]))


def test_another_policy_in_a_signed_bundle_is_refused(signed: Bundle, keys: tuple[Path, Path]) -> None:
    forged = signed.policy.model_copy(update={"thresholds": Thresholds(local=1.0)})
    forged.write(signed.path)
    with pytest.raises(BadBundle, match="the policy was changed after"):
        Bundle.open(signed.path, TrustedKeys.read([keys[1]]))
    forged.model_copy(update={"signature": None}).write(signed.path)
    with pytest.raises(BadBundle, match="the policy is not signed"):
        Bundle.open(signed.path, TrustedKeys.read([keys[1]]))


@pytest.mark.parametrize("damage", ["", "{}", '{"checksum": "0", "key": "0", "value": "0"}', "["])
def test_a_damaged_signature_is_named(signed: Bundle, keys: tuple[Path, Path], damage: str) -> None:
    (signed.path / "signature.json").write_text(damage)
    with pytest.raises(BadBundle, match=r"signature\.json"):
        Bundle.open(signed.path, TrustedKeys.read([keys[1]]))


def test_a_signature_survives_defaults_that_are_written_out(keys: tuple[Path, Path]) -> None:
    policy = Policy(bundle="b" * 64, tuned={"share": 1.0, "n": 3}).signed(read_key(keys[0]))
    written = Policy.of(json.loads(policy.model_dump_json()))
    spare = Policy.of(json.loads(policy.model_dump_json(exclude_defaults=True)))
    assert written.digest == spare.digest == policy.digest
    assert written.etag == spare.etag == policy.model_copy(update={"signature": None}).etag


def later(policy: Policy, by: int, key: Path | None, **changes: Any) -> Policy:
    """Another policy, so many versions on, signed."""
    other = policy.model_copy(update={"version": policy.version + by, **changes})
    return other.signed(read_key(key)) if key else other


@pytest.fixture
def trusting(signed: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> Fleet:
    settings = {"trusted_keys": (keys[1],), "admin_token": ADMIN, "state_dir": tmp_path / "state"}
    fleet = Fleet(signed, settings=settings, devices=[0])
    fleet.start()
    return fleet


async def put(fleet: Fleet, policy: Policy) -> httpx.Response:
    async with fleet.client("cloud") as client:
        headers = {"authorization": f"Bearer {ADMIN}"}
        return await client.put("/v2/policy", content=policy.model_dump_json(), headers=headers)


async def test_a_tier_that_trusts_keys_takes_later_policies_that_they_signed_and_nothing_else(
    trusting: Fleet, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    current = trusting.switch.apps["cloud"].state.service.policy
    stranger = tmp_path / "stranger.pem"
    make_key(stranger)
    for policy, words in [
        (later(current, 1, None, signature=None), "the policy is not signed"),
        (later(current, 1, stranger), "the policy is signed by"),
        (later(current, 1, None, thresholds=Thresholds(local=1.0)), "the policy was changed after"),
        (later(current, 0, keys[0], thresholds=Thresholds(local=1.0)), "expected a later one, signed"),
    ]:
        refused = await put(trusting, policy)
        assert refused.status_code == 400
        assert words in refused.json()["error"]
    wanted = later(current, 5, keys[0], thresholds=Thresholds(local=0.25))
    assert (await put(trusting, wanted)).json()["version"] == current.version + 5
    for host in ("edge", "device-0"):
        service = trusting.switch.apps[host].state.service
        await service.follower.poll()
        assert (service.policy.version, service.follower.problem) == (current.version + 5, "")
    await trusting.close()


async def test_going_back_is_signed_as_a_later_version(trusting: Fleet, keys: tuple[Path, Path]) -> None:
    first = trusting.switch.apps["cloud"].state.service.policy
    assert (await put(trusting, later(first, 1, keys[0], thresholds=Thresholds(local=0.25)))).status_code == 200
    async with trusting.client("cloud") as client:
        refused = await client.post("/v2/policy/rollback", headers={"authorization": f"Bearer {ADMIN}"})
    assert refused.status_code == 409
    assert "ddnn sign policy.json --version N" in refused.json()["error"]
    assert (await put(trusting, first)).status_code == 400
    assert (await put(trusting, later(first, 2, keys[0]))).json()["version"] == first.version + 2
    await trusting.close()


async def test_a_tier_above_that_was_taken_over_can_neither_change_nor_take_back_a_policy(
    trusting: Fleet, keys: tuple[Path, Path]
) -> None:
    cloud, edge = (trusting.switch.apps[host].state.service for host in ("cloud", "edge"))
    old = cloud.policy
    new = later(old, 1, keys[0], thresholds=Thresholds(local=0.25))
    cloud.policy = new
    await edge.follower.poll()
    assert edge.policy.version == new.version
    for forged, words in [
        (old, "and version 2 has been in force here" if old.version == 1 else "has been in force here"),
        (later(new, 1, None, thresholds=Thresholds(local=1.0)), "the policy was changed after"),
    ]:
        cloud.policy = forged
        await edge.follower.poll()
        assert words in edge.follower.problem
        assert edge.policy.etag == new.etag
    await trusting.close()


async def test_what_a_tier_has_had_outlives_a_restart_unless_it_was_forged(
    signed: Bundle, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    trusted, file = TrustedKeys.read([keys[1]]), PolicyFile(tmp_path, "edge-0")
    given: dict[str, Any] = {"classes": 10, "devices": 6, "trusted": trusted}
    new = later(signed.policy, 3, keys[0])
    assert await PolicyControl(signed.policy, file=file, **given).change(new, "upstream")
    assert PolicyControl(signed.policy, file=file, **given).policy == new
    await file.keep(later(new, 9, None, thresholds=Thresholds(local=1.0)), None)
    assert PolicyControl(signed.policy, file=file, **given).policy == signed.policy
