"""What a tier keeps: its policy outlives a restart, unless the bundle's is newer, another's, or nothing can be read."""

import logging
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Policy, Thresholds
from ddnn.serving.control import PolicyFile
from ddnn.settings import Settings
from ddnn_cloud.app import CloudService, make_service

FILE = "policy-cloud-0.json"


@pytest.fixture
def changed(tiny_bundle: Bundle) -> Policy:
    return tiny_bundle.policy.model_copy(update={"version": 4, "thresholds": Thresholds(local=0.25)})


def start(bundle: Bundle, folder: Path | None) -> CloudService:
    """A cloud that starts with this state folder."""
    return make_service(Settings.load(bundle=bundle.path, state_dir=folder, threads=1))


async def test_a_restart_keeps_the_policy_and_the_one_before(
    tiny_bundle: Bundle, tmp_path: Path, changed: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ddnn")
    first = start(tiny_bundle, tmp_path / "made" / "when needed")
    assert (first.control.source, first.control.previous) == ("bundle", None)
    assert await first.control.change(changed, "admin")
    again = start(tiny_bundle, tmp_path / "made" / "when needed")
    assert (again.policy, again.control.source) == (changed, "state")
    assert again.control.previous == tiny_bundle.policy
    assert "policy version 4 as kept: the bundle's is version 1" in caplog.text
    assert [file.name for file in (tmp_path / "made" / "when needed").iterdir()] == [FILE]


async def test_a_newer_bundle_s_or_another_bundle_s_policy_is_not_overruled(
    tiny_bundle: Bundle, tmp_path: Path, changed: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ddnn")
    state = PolicyFile(tmp_path, "cloud-0")
    await state.keep(changed, None)
    assert state.read(changed.model_copy(update={"version": 5})) is None
    assert "version 5 of the bundle: the one kept is version 4" in caplog.text
    assert state.read(changed.model_copy(update={"bundle": "f" * 64})) is None
    assert "belongs to another bundle" in caplog.text
    assert state.read(changed.model_copy(update={"thresholds": Thresholds()})) == (changed, None)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"format": 1, "current": {}}'])
async def test_a_damaged_file_is_a_sentence_and_the_bundle_s_policy(
    tiny_bundle: Bundle, tmp_path: Path, changed: Policy, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    (tmp_path / FILE).write_bytes(damage)
    service = start(tiny_bundle, tmp_path)
    assert (service.policy, service.control.source) == (tiny_bundle.policy, "bundle")
    assert "the one kept is damaged" in caplog.text
    assert FILE in caplog.text
    assert await service.control.change(changed, "admin")
    assert start(tiny_bundle, tmp_path).policy == changed


async def test_one_changed_byte_is_found(tmp_path: Path, changed: Policy) -> None:
    state = PolicyFile(tmp_path, "cloud-0")
    await state.keep(changed, None)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace("0.25", "0.95"))
    assert state.read(changed) is None


async def test_without_a_disk_the_swap_counts_and_says_that_it_will_not_last(
    tiny_bundle: Bundle, tmp_path: Path, changed: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    for folder, why in ((None, "DDNN_STATE_DIR is not set"), (tmp_path / "file", "cannot be written")):
        service = start(tiny_bundle, folder)
        assert not await service.control.change(changed, "admin")
        status = service.status()["policy"]
        assert (service.policy, status["kept"]) == (changed, False)
        assert why in status["not_kept_because"]
    assert "policy version 4 will not outlive a restart" in caplog.text


async def test_two_tiers_may_share_a_folder(tmp_path: Path, changed: Policy) -> None:
    for name in ("edge-0", "edge-1"):
        assert await PolicyFile(tmp_path, name).keep(changed, None)
    assert PolicyFile(tmp_path, "cloud-0").read(changed) is None
